// Admin's Export and Check: the images' store, as its administrator sees it.
#include <algorithm>
#include <string_view>

#include "fmt/format.h"

#include "daemon/cri/admin_service.h"
#include "daemon/cri/call.h"
#include "daemon/cri/fields.h"
#include "daemon/cri/render_check.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

// Of one message; gRPC's clients take 4 MiB.
constexpr size_t kPartBytes = 512 << 10;
constexpr int kMaxExportedImages = 1000;

absl::StatusOr<image::ExportOptions> ParseExport(const admin::ExportRequest& request) {
  if (request.images().empty() || request.images_size() > kMaxExportedImages) {
    return FieldError("images", fmt::format("are {}; 1 to {} can be exported at once",
                                            request.images_size(), kMaxExportedImages));
  }
  for (const std::string& name : request.images()) {
    RETURN_IF_ERROR(CheckName("images", name, kMaxImageNameBytes));
  }
  image::ExportOptions options;
  options.compress = request.compress();
  if (request.format() == "docker") {
    options.format = image::ExportOptions::Format::kDocker;
  } else if (!request.format().empty() && request.format() != "oci") {
    return FieldError("format", "is neither 'oci' nor 'docker'");
  }
  return options;
}

// Gathers pieces into messages.
class PartWriter {
 public:
  explicit PartWriter(grpc::ServerWriter<admin::ExportPart>* writer) : writer_(writer) {}

  absl::Status Add(std::string_view piece) {
    while (!piece.empty()) {
      std::string& data = *part_.mutable_data();
      const size_t size = std::min(piece.size(), kPartBytes - data.size());
      data.append(piece.data(), size);
      piece.remove_prefix(size);
      if (data.size() == kPartBytes) {
        RETURN_IF_ERROR(Flush());
      }
    }
    return absl::OkStatus();
  }

  absl::Status Flush() {
    if (part_.data().empty()) {
      return absl::OkStatus();
    }
    const bool written = writer_->Write(part_);
    part_.mutable_data()->clear();
    return written ? absl::OkStatus() : absl::CancelledError("the caller went away");
  }

 private:
  grpc::ServerWriter<admin::ExportPart>* const writer_;
  admin::ExportPart part_;
};

}  // namespace

admin::CheckResponse RenderCheck(const check::Report& report) {
  admin::CheckResponse response;
  for (const check::Problem& problem : report.problems) {
    admin::CheckProblem& rendered = *response.add_problems();
    rendered.set_kind(problem.kind);
    rendered.set_object(ToUtf8(problem.object));
    rendered.set_text(ToUtf8(problem.text));
    rendered.set_repaired(problem.is_repaired);
    rendered.set_advice(ToUtf8(problem.advice));
  }
  for (const std::string& note : report.notes) {
    response.add_notes(ToUtf8(note));
  }
  response.set_images(static_cast<uint32_t>(report.images));
  response.set_layers(static_cast<uint32_t>(report.layers));
  response.set_containers(static_cast<uint32_t>(report.containers));
  response.set_pods(static_cast<uint32_t>(report.pods));
  response.set_verified_layers(static_cast<uint32_t>(report.verified_layers));
  response.set_left(static_cast<uint32_t>(report.Left()));
  return response;
}

grpc::Status AdminService::Export(grpc::ServerContext* context, const admin::ExportRequest* request,
                                  grpc::ServerWriter<admin::ExportPart>* writer) {
  Call call("Export", Call::Kind::kRead, context);
  const absl::StatusOr<image::ExportOptions> options = ParseExport(*request);
  if (!options.ok()) {
    return call.End(options.status());
  }
  PartWriter parts(writer);
  absl::Status status =
      deps_.images.Export(call.context(), {request->images().begin(), request->images().end()},
                          *options, [&](std::string_view piece) { return parts.Add(piece); });
  if (status.ok()) {
    status = parts.Flush();
  }
  return call.End(status);
}

grpc::Status AdminService::Check(grpc::ServerContext* context, const admin::CheckRequest* request,
                                 admin::CheckResponse* response) {
  Call call("Check", request->repair() ? Call::Kind::kChange : Call::Kind::kRead, context);
  const absl::StatusOr<check::Report> report = check::CheckStore(
      call.context(), deps_.check,
      {.layers = request->layers(), .repair = request->repair(), .is_live = true});
  if (report.ok()) {
    *response = RenderCheck(*report);
    call.Note("problems", std::to_string(report->problems.size()));
    call.Note("left", std::to_string(report->Left()));
  }
  return call.End(report.status());
}

}  // namespace berth::cri

// CRI v1 GetContainerEvents.
#include "daemon/cri/call.h"
#include "daemon/cri/render_sandbox.h"
#include "daemon/cri/runtime_service.h"
#include "lib/base/status.h"

namespace berth::cri {

namespace {

api::ContainerEventType RenderType(events::EventType type) {
  switch (type) {
    case events::EventType::kCreated:
      return api::CONTAINER_CREATED_EVENT;
    case events::EventType::kStarted:
      return api::CONTAINER_STARTED_EVENT;
    case events::EventType::kStopped:
      return api::CONTAINER_STOPPED_EVENT;
    case events::EventType::kDeleted:
      return api::CONTAINER_DELETED_EVENT;
  }
  return api::CONTAINER_STOPPED_EVENT;
}

}  // namespace

absl::Status RuntimeService::Watch(const base::OpContext& ctx,
                                   grpc::ServerWriter<api::ContainerEventResponse>& writer) {
  const std::unique_ptr<events::Subscription> subscription = deps_.events.Subscribe();
  // Tells the caller that from now on nothing is missed.
  writer.SendInitialMetadata();
  while (true) {
    ASSIGN_OR_RETURN(const events::EventPtr event, subscription->Next(ctx));
    api::ContainerEventResponse response;
    response.set_container_id(event->id);
    response.set_container_event_type(RenderType(event->type));
    response.set_created_at(event->created_ns);
    *response.mutable_pod_sandbox_status() = RenderSandboxStatus(*event->pod.sandbox);
    for (const auto& container : event->pod.containers) {
      *response.add_containers_statuses() = RenderStatus(*container);
    }
    if (!writer.Write(response)) {
      return absl::CancelledError("the caller went away");
    }
  }
}

grpc::Status RuntimeService::GetContainerEvents(
    grpc::ServerContext* context, const api::GetEventsRequest*,
    grpc::ServerWriter<api::ContainerEventResponse>* writer) {
  Call call("GetContainerEvents", Call::Kind::kRead, context);
  return call.End(Watch(call.context(), *writer));
}

}  // namespace berth::cri

#include "lib/registry/curl_transport.h"

#include <cctype>
#include <cstdlib>
#include <list>
#include <mutex>
#include <utility>

#include "curl/curl.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/mutex.h"
#include "lib/base/status.h"
#include "lib/oci/printable.h"
#include "lib/registry/proxy.h"
#include "lib/registry/url.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxHeaderBytes = 256 << 10;
constexpr size_t kMaxCaBytes = 4 << 20;
constexpr long kReceiveBuffer = 256 << 10;
constexpr size_t kMaxIdle = 16;
constexpr absl::Duration kMaxIdleTime = absl::Seconds(30);
constexpr char kSystemCaDir[] = "/etc/ssl/certs";

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

void InitCurlOnce() {
  static std::once_flag once;
  std::call_once(once, [] { BERTH_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
}

// A directory of certificates by hash is read one certificate at a time, as needed; the bundle with
// all of them costs a megabyte and tens of milliseconds in every connection.
bool HasHashedSystemCas() {
  static const bool found = [] {
    auto names = base::ListDir(kSystemCaDir);
    if (!names.ok()) {
      return false;
    }
    for (const std::string& name : *names) {
      if (name.size() == 10 && name.substr(8) == ".0") {
        return true;
      }
    }
    return false;
  }();
  return found;
}

// Everything the callbacks of one exchange need.
struct Exchange {
  explicit Exchange(const HttpTransport::BodySink& body_sink) : sink(body_sink) {}

  const HttpTransport::BodySink& sink;
  HttpResponse response;
  size_t header_bytes = 0;
  absl::Status sink_status;
  absl::Time last_progress = absl::Now();
  char error[CURL_ERROR_SIZE] = {};
};

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  return first == std::string_view::npos
             ? ""
             : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

size_t OnHeader(char* bytes, size_t size, size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(bytes, size * count);
  exchange.last_progress = absl::Now();
  exchange.header_bytes += line.size();
  if (exchange.header_bytes > kMaxHeaderBytes) {
    exchange.sink_status =
        Error(absl::StatusCode::kOutOfRange,
              fmt::format("the response has more than {} bytes of headers", kMaxHeaderBytes));
    return 0;
  }
  if (line.substr(0, 5) == "HTTP/") {  // a new response: what came before was interim (1xx)
    exchange.response = HttpResponse();
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      exchange.response.status = std::atoi(std::string(line.substr(space + 1, 3)).c_str());
    }
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    std::string name(Trimmed(line.substr(0, colon)));
    for (char& c : name) {
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    exchange.response.headers.emplace(std::move(name), Trimmed(line.substr(colon + 1)));
  }
  return line.size();
}

size_t OnBody(char* bytes, size_t size, size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.sink_status =
      exchange.sink(exchange.response, std::span<const char>(bytes, size * count));
  exchange.last_progress = absl::Now();  // after the sink: its time is not the server's
  return exchange.sink_status.ok() ? size * count : 0;
}

absl::Status StatusOf(CURLcode code, const Exchange& exchange) {
  const std::string text =
      oci::Printable(exchange.error[0] != '\0' ? exchange.error : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OK:
      return absl::OkStatus();
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:  // only connecting has a time limit of libcurl's
    case CURLE_SSL_CONNECT_ERROR:
      return Error(absl::StatusCode::kUnavailable, text);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
      return Error(absl::StatusCode::kFailedPrecondition, text);
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      return Error(absl::StatusCode::kInvalidArgument, text);
    case CURLE_OUT_OF_MEMORY:
      return Error(absl::StatusCode::kResourceExhausted, text);
    default:
      return Error(absl::StatusCode::kAborted, text);
  }
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

absl::StatusOr<HeaderList> MakeHeaders(const HttpRequest& request) {
  HeaderList list;
  std::vector<std::string> lines = {"Expect:"};
  for (const auto& [name, value] : request.headers) {
    lines.push_back(name + ": " + value);
  }
  for (const std::string& line : lines) {
    if (line.find_first_of(std::string("\r\n\0", 3)) != std::string::npos) {
      return Error(absl::StatusCode::kInvalidArgument, "a request header has a line break in it");
    }
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    BERTH_CHECK(longer != nullptr);
    (void)list.release();  // it is the head of `longer`, or nothing
    list.reset(longer);
  }
  return list;
}

absl::Status ApplyTls(CURL* easy, const TlsSettings& tls) {
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, tls.verify ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, tls.verify ? 2L : 0L);
  if (HasHashedSystemCas()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, nullptr);
    curl_easy_setopt(easy, CURLOPT_CAPATH, kSystemCaDir);
  }
  std::string cas;
  for (const std::string& file : tls.ca_files) {
    auto text = base::ReadFile(file, kMaxCaBytes);
    if (!text.ok()) {
      return Error(absl::StatusCode::kInvalidArgument,
                   std::string(base::Annotate(text.status(), "read CA certificate").message()));
    }
    cas += *text + "\n";
  }
  if (!cas.empty()) {
    curl_blob blob{cas.data(), cas.size(), CURL_BLOB_COPY};
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
  }
  if (!tls.client_cert_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, tls.client_cert_file.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, tls.client_key_file.c_str());
  }
  return absl::OkStatus();
}

// libcurl does not look at the environment itself then. "" means none. One that speaks TLS is
// vouched for by the system's authorities alone: those of certs.d are a registry's.
void ApplyProxy(CURL* easy, const std::string& proxy) {
  curl_easy_setopt(easy, CURLOPT_PROXY, proxy.c_str());
  curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (HasHashedSystemCas()) {
    curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, nullptr);
    curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, kSystemCaDir);
  }
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
}

// `connect_code`: what the proxy answered to CONNECT; 0: nothing yet.
absl::Status NameProxy(const absl::Status& status, const std::string& proxy, long connect_code) {
  if (absl::IsFailedPrecondition(status) && proxy.starts_with("https://") && connect_code == 0) {
    return Error(
        absl::StatusCode::kUnavailable,
        fmt::format("the certificate of the proxy '{}' is not trusted: {} (its CA has to be "
                    "one of the system's, '{}')",
                    ProxyForMessage(proxy), std::string(status.message()), kSystemCaDir));
  }
  const bool may_be_its_fault = absl::IsUnavailable(status) || absl::IsAborted(status);
  return proxy.empty() || !may_be_its_fault
             ? status
             : Error(status.code(),
                     fmt::format("{} (through proxy '{}')", std::string(status.message()),
                                 ProxyForMessage(proxy)));
}

void ApplyRequest(CURL* easy, const HttpRequest& request, const Url& url, Exchange& exchange,
                  curl_slist* headers) {
  curl_easy_setopt(easy, CURLOPT_URL, url.text.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // do not wait for a name that does not resolve
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(request.connect_timeout)));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange.error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method == "POST") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request.body.c_str());
  }
}

// Runs the exchange that `easy` is set up for.
absl::Status Drive(const base::OpContext& ctx, CURLM* multi, const HttpRequest& request,
                   Exchange& exchange) {
  while (true) {
    int running = 0;
    if (const CURLMcode code = curl_multi_perform(multi, &running); code != CURLM_OK) {
      return Error(absl::StatusCode::kInternal, curl_multi_strerror(code));
    }
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg == CURLMSG_DONE) {
        RETURN_IF_ERROR(exchange.sink_status);
        return StatusOf(message->data.result, exchange);
      }
    }
    RETURN_IF_ERROR(ctx.Check());
    if (absl::Now() - exchange.last_progress > request.stall_timeout) {
      return Error(
          absl::StatusCode::kAborted,
          fmt::format("nothing was received for {}", absl::FormatDuration(request.stall_timeout)));
    }
    curl_multi_poll(multi, nullptr, 0, ctx.PollMillis(), nullptr);
  }
}

}  // namespace

// Handles with their connections. A handle is used by one exchange at a time; it keeps its
// connections, so it is given to the next exchange with the same origin.
class CurlTransport::Pool {
 public:
  struct Slot {
    std::string origin;
    absl::Time released;
    CURLM* multi = nullptr;
    CURL* easy = nullptr;

    explicit Slot(std::string slot_origin)
        : origin(std::move(slot_origin)), multi(curl_multi_init()), easy(curl_easy_init()) {
      BERTH_CHECK(multi != nullptr && easy != nullptr);
    }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      curl_easy_cleanup(easy);
      curl_multi_cleanup(multi);
    }
  };
  using SlotPtr = std::unique_ptr<Slot>;

  SlotPtr Acquire(const std::string& origin) {
    std::list<SlotPtr> expired;  // closed outside the lock
    base::MutexLock lock(mu_);
    const absl::Time now = absl::Now();
    SlotPtr found;
    for (auto it = idle_.begin(); it != idle_.end();) {
      const auto current = it++;
      if (now - (*current)->released > kMaxIdleTime) {
        expired.splice(expired.end(), idle_, current);
      } else if (found == nullptr && (*current)->origin == origin) {
        found = std::move(*current);
        idle_.erase(current);
      }
    }
    return found != nullptr ? std::move(found) : std::make_unique<Slot>(origin);
  }

  void Release(SlotPtr slot) {
    curl_easy_reset(slot->easy);
    slot->released = absl::Now();
    SlotPtr oldest;
    base::MutexLock lock(mu_);
    idle_.push_front(std::move(slot));
    if (idle_.size() > kMaxIdle) {
      oldest = std::move(idle_.back());
      idle_.pop_back();
    }
  }

  void Clear() {
    std::list<SlotPtr> all;
    base::MutexLock lock(mu_);
    all.swap(idle_);
  }

 private:
  base::Mutex mu_;
  std::list<SlotPtr> idle_ ABSL_GUARDED_BY(mu_);  // last used first
};

CurlTransport::CurlTransport() : pool_(std::make_unique<Pool>()) {}
CurlTransport::~CurlTransport() = default;

void CurlTransport::CloseIdle() { pool_->Clear(); }

absl::StatusOr<HttpResponse> CurlTransport::Perform(const base::OpContext& ctx,
                                                    const HttpRequest& request,
                                                    const BodySink& sink) {
  RETURN_IF_ERROR(ctx.Check());
  ASSIGN_OR_RETURN(const Url url, Url::Parse(request.url));
  ASSIGN_OR_RETURN(const HeaderList headers, MakeHeaders(request));
  InitCurlOnce();

  Pool::SlotPtr slot = pool_->Acquire(fmt::format("{}://{}:{}", url.scheme, url.host, url.port));
  Exchange exchange(sink);
  ApplyRequest(slot->easy, request, url, exchange, headers.get());
  const std::string proxy = ProxyFor(url);
  ApplyProxy(slot->easy, proxy);
  RETURN_IF_ERROR(ApplyTls(slot->easy, request.tls));

  BERTH_CHECK(curl_multi_add_handle(slot->multi, slot->easy) == CURLM_OK);
  const absl::Status status = Drive(ctx, slot->multi, request, exchange);
  curl_multi_remove_handle(slot->multi, slot->easy);
  if (!status.ok()) {
    long connect_code = 0;
    curl_easy_getinfo(slot->easy, CURLINFO_HTTP_CONNECTCODE, &connect_code);
    return NameProxy(status, proxy,
                     connect_code);  // the slot goes, with a connection that may be in any state
  }
  pool_->Release(std::move(slot));
  return std::move(exchange.response);
}

}  // namespace berth::registry

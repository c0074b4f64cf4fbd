#include "cmd/monitor/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

constexpr size_t kShortId = 12;
// Datagrams that are under way count as the sender's; the usual limit holds a hundred small ones.
constexpr int kSendBytes = 1 << 20;

const char kOut[] = "PRIORITY=6\n";
const char kErr[] = "PRIORITY=3\n";
const char kWarning[] = "PRIORITY=4\n";
const char kEnd[] = "\n\n";  // of the field and of the entry
const char kPartialEnd[] = "\nCONTAINER_PARTIAL_MESSAGE=true\n\n";

template <size_t N>
iovec Part(const char (&text)[N]) {
  return {const_cast<char*>(text), N - 1};
}

// A value that ends where the text does: with a line of its own a pod's author could add fields.
void AddValue(Text& fields, const char* text) {
  for (; *text != '\0'; text++) {
    fields.Add(*text == '\n' ? "?" : text, 1);
  }
}

}  // namespace

bool Journal::Open(const char* path, const char* id, const char* name) {
  Text fields(fields_, sizeof(fields_));
  fields.Add("CONTAINER_ID_FULL=").Add(id);
  fields.Add("\nCONTAINER_ID=").Add(id, strnlen(id, kShortId));
  fields.Add("\nCONTAINER_NAME=");
  AddValue(fields, name);
  fields.Add("\nSYSLOG_IDENTIFIER=");
  AddValue(fields, name);
  fields.Add("\nMESSAGE=");
  fields_size_ = fields.size();
  address_.sun_family = AF_UNIX;
  const size_t size = strlen(path);
  if (fields.overflowed() || size >= sizeof(address_.sun_path)) {
    return false;
  }
  memcpy(address_.sun_path, path, size + 1);
  fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) {
    return false;
  }
  if (setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &kSendBytes, sizeof(kSendBytes)) != 0) {
    setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof(kSendBytes));
  }
  return true;
}

// Not connected: the journal may be restarted, and its socket be another one then.
bool Journal::Send(const iovec* parts, int count) {
  msghdr message = {};
  message.msg_name = &address_;
  message.msg_namelen = sizeof(address_);
  message.msg_iov = const_cast<iovec*>(parts);
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
  return sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

void Journal::Add(Stream stream, const char* text, size_t size, bool partial) {
  iovec* part = parts_ + entries_ * kParts;
  part[0] = stream == Stream::kStdout ? Part(kOut) : Part(kErr);
  part[1] = {fields_, fields_size_};
  part[2] = {const_cast<char*>(text), size};
  part[3] = partial ? Part(kPartialEnd) : Part(kEnd);
  if (++entries_ == kEntries) {
    Flush();
  }
}

void Journal::Flush() {
  TellLoss();
  // What comes after a loss that could not be told is not taken either.
  if (entries_ > 0 && (lost_ > told_ || !Send(parts_, entries_ * kParts))) {
    lost_ += static_cast<uint64_t>(entries_);
  }
  entries_ = 0;
}

void Journal::TellLoss() {
  if (lost_ == told_) {
    return;
  }
  TextBuffer<128> text;
  text.Add("the journal did not take ").AddNumber(static_cast<int64_t>(lost_ - told_));
  text.Add(" entries of this container's output; its log file has them");
  const iovec parts[] = {Part(kWarning),
                         {fields_, fields_size_},
                         {const_cast<char*>(text.c_str()), text.size()},
                         Part(kEnd)};
  if (Send(parts, kParts)) {
    told_ = lost_;
  }
}

}  // namespace berth::monitor

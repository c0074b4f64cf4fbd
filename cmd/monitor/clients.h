// Clients: the monitor's socket and those connected to it (lib/monitor_protocol/protocol.h).
//
// No client can hold up the container, its log or another client. Output goes to an attached
// client's socket buffer, which is its bounded queue (smaller where there are many): when that is
// full, output is skipped for this client until all of it is read, and the client is told how much.
// A client that does not read its answers is dropped. Input is the other way round: what the
// container does not take yet stays in the client's socket.
#pragma once

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/monitor/log_writer.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::monitor {

// What clients can ask of the monitor. Errors are errnos.
class Requests {
 public:
  virtual monitor_protocol::StatePacket State() = 0;
  virtual int ReopenLog() = 0;
  virtual int Resize(uint16_t height, uint16_t width) = 0;
  virtual int CloseInput() = 0;
  virtual int CancelCreate() = 0;
  // True when Input may be called.
  virtual bool InputReady() = 0;
  virtual void Input(const char* data, size_t size) = 0;
  // A client attached to the input has ended.
  virtual void InputClientEnded() = 0;

 protected:
  ~Requests() = default;
};

class Clients {
 public:
  // Well below the usual limit of 1024 descriptors.
  static constexpr int kMax = 500;

  explicit Clients(Requests& requests) : requests_(requests) {}

  // 0 or an errno.
  int Listen(const char* path);
  // Takes a connection that exists already as a subscribed client.
  void AddStart(int fd);

  // Fills the entries, at most kMax + 1, and returns how many; Handle is called with the same after
  // poll.
  int Poll(pollfd* entries);
  void Handle(const pollfd* entries);

  void SendOutput(Stream stream, const char* data, size_t size);
  // To all that subscribed.
  void SendState();
  // To all.
  void SendAll(const void* packet, size_t size);

 private:
  // Without initializers: the table is larger than what is used of it, and pages that nobody writes
  // to cost nothing.
  struct Client {
    uint64_t skipped;
    int fd;  // -1: free
    bool subscribed;
    bool skipping;
    uint8_t streams;
  };

  // It may send input, and the container has not taken the last one yet, whose ever that is.
  bool WaitsForInput(const Client& client);
  void Accept();
  void DropAbandoned();
  bool Add(int fd, bool subscribed);
  void Drop(Client& client);
  // Sends one packet without waiting; a client that cannot take it is dropped.
  void Send(Client& client, const void* packet, size_t size);
  void SendStateTo(Client& client);
  void Answer(Client& client, monitor_protocol::PacketType request, int error);
  void Receive(Client& client);
  void OnPacket(Client& client, const char* packet, size_t size);
  void Attach(Client& client, uint8_t streams);
  void ResumeOutput(Client& client);

  Requests& requests_;
  int listen_fd_ = -1;
  int polled_ = 0;  // of the table, by the last Poll
  int used_ = 0;    // of the table: the first ones; some of them may be free
  Client clients_[kMax];
};

}  // namespace berth::monitor

// What an error of the libraries is to a gRPC client: the same code and message, once, here.
//
// The exceptions are the errors that the CRI gives names (Kubernetes cri-api, pkg/errors). The
// kubelet looks for the name at the message's start and removes gRPC's own words in front of it for
// code UNKNOWN only, so they leave as UNKNOWN, "Name: message". A command that does not exist in
// the container is a bad argument, and not the NOT_FOUND that means "no such container". Threads:
// pure function.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace berth::cri {

grpc::Status ToGrpc(const absl::Status& status);

}  // namespace berth::cri

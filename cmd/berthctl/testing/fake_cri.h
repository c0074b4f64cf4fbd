// FakeCri: a CRI runtime in this process, on a socket in a directory of its own. It keeps pods as
// names and "runs" a container by writing the log lines it is told to. For tests of berthctl only.
// Threads: thread-safe; settings before the first call.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/mutex.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::berthctl {

namespace cri = runtime::v1;

class FakeCri {
 public:
  FakeCri() : runtime_(*this), images_(*this) {
    dir_ = testing::TempDir() + "/fake-cri-XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket(), grpc::InsecureServerCredentials());
    builder.RegisterService(&runtime_);
    builder.RegisterService(&images_);
    server_ = builder.BuildAndStart();
  }
  ~FakeCri() {
    server_->Shutdown(std::chrono::system_clock::now());
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  std::string socket() const { return dir_ + "/cri.sock"; }

  // Settings.
  bool has_image = true;
  std::map<std::string, grpc::Status> errors;  // by call; RunPodSandbox makes the pod all the same
  std::string hangs;                           // this call waits until it is cancelled
  std::vector<std::string> log;  // one piece is written for each look at the container
  bool never_exits = false;
  int exit_code = 0;
  std::string reason = "Completed";

  // What happened.
  std::vector<std::string> calls() {
    base::MutexLock lock(mu_);
    return calls_;
  }
  bool Called(const std::string& call) {
    base::MutexLock lock(mu_);
    return std::find(calls_.begin(), calls_.end(), call) != calls_.end();
  }
  size_t pods() {
    base::MutexLock lock(mu_);
    return pods_.size();
  }
  cri::PodSandboxConfig pod_config() {
    base::MutexLock lock(mu_);
    return pod_config_;
  }
  std::string handler() {
    base::MutexLock lock(mu_);
    return handler_;
  }
  int64_t stop_timeout() {
    base::MutexLock lock(mu_);
    return stop_timeout_;
  }

 private:
  grpc::Status Enter(const char* call, grpc::ServerContext* context) {
    {
      base::MutexLock lock(mu_);
      calls_.push_back(call);
    }
    while (hangs == call && !context->IsCancelled()) {
      usleep(1000);
    }
    const auto error = errors.find(call);
    return error == errors.end() ? grpc::Status::OK : error->second;
  }

  class Runtime final : public cri::RuntimeService::Service {
   public:
    explicit Runtime(FakeCri& fake) : fake_(fake) {}

    grpc::Status RunPodSandbox(grpc::ServerContext* ctx, const cri::RunPodSandboxRequest* request,
                               cri::RunPodSandboxResponse* response) override {
      {
        base::MutexLock lock(fake_.mu_);
        fake_.pod_config_ = request->config();
        fake_.handler_ = request->runtime_handler();
        fake_.pods_["pod1"] = request->config().labels().begin()->second;
      }
      response->set_pod_sandbox_id("pod1");
      return fake_.Enter("RunPodSandbox", ctx);
    }
    grpc::Status ListPodSandbox(grpc::ServerContext* ctx, const cri::ListPodSandboxRequest* request,
                                cri::ListPodSandboxResponse* response) override {
      const std::string wanted = request->filter().label_selector().begin()->second;
      base::MutexLock lock(fake_.mu_);
      for (const auto& [id, label] : fake_.pods_) {
        if (label == wanted) {
          response->add_items()->set_id(id);
        }
      }
      fake_.calls_.push_back("ListPodSandbox");
      static_cast<void>(ctx);
      return grpc::Status::OK;
    }
    grpc::Status CreateContainer(grpc::ServerContext* ctx, const cri::CreateContainerRequest*,
                                 cri::CreateContainerResponse* response) override {
      response->set_container_id("container1");
      return fake_.Enter("CreateContainer", ctx);
    }
    grpc::Status StartContainer(grpc::ServerContext* ctx, const cri::StartContainerRequest*,
                                cri::StartContainerResponse*) override {
      return fake_.Enter("StartContainer", ctx);
    }
    grpc::Status ContainerStatus(grpc::ServerContext* ctx, const cri::ContainerStatusRequest*,
                                 cri::ContainerStatusResponse* response) override {
      const grpc::Status status = fake_.Enter("ContainerStatus", ctx);
      const size_t look = looks_++;
      cri::ContainerStatus& container = *response->mutable_status();
      container.set_state(cri::CONTAINER_RUNNING);
      if (look < fake_.log.size()) {
        std::ofstream(fake_.pod_config().log_directory() + "/container.log", std::ios::app)
            << fake_.log[look];
      }
      if (look + 1 >= fake_.log.size() && !fake_.never_exits) {
        container.set_state(cri::CONTAINER_EXITED);
        container.set_exit_code(fake_.exit_code);
        container.set_reason(fake_.reason);
      }
      return status;
    }
    grpc::Status StopContainer(grpc::ServerContext* ctx, const cri::StopContainerRequest* request,
                               cri::StopContainerResponse*) override {
      {
        base::MutexLock lock(fake_.mu_);
        fake_.stop_timeout_ = request->timeout();
      }
      return fake_.Enter("StopContainer", ctx);
    }
    grpc::Status StopPodSandbox(grpc::ServerContext* ctx, const cri::StopPodSandboxRequest*,
                                cri::StopPodSandboxResponse*) override {
      return fake_.Enter("StopPodSandbox", ctx);
    }
    grpc::Status RemovePodSandbox(grpc::ServerContext* ctx,
                                  const cri::RemovePodSandboxRequest* request,
                                  cri::RemovePodSandboxResponse*) override {
      {
        base::MutexLock lock(fake_.mu_);
        fake_.pods_.erase(request->pod_sandbox_id());
      }
      return fake_.Enter("RemovePodSandbox", ctx);
    }

   private:
    FakeCri& fake_;
    std::atomic<size_t> looks_ = 0;
  };

  class Images final : public cri::ImageService::Service {
   public:
    explicit Images(FakeCri& fake) : fake_(fake) {}

    grpc::Status ImageStatus(grpc::ServerContext* ctx, const cri::ImageStatusRequest*,
                             cri::ImageStatusResponse* response) override {
      if (fake_.has_image) {
        response->mutable_image()->set_id("image1");
      }
      return fake_.Enter("ImageStatus", ctx);
    }
    grpc::Status PullImage(grpc::ServerContext* ctx, const cri::PullImageRequest*,
                           cri::PullImageResponse*) override {
      return fake_.Enter("PullImage", ctx);
    }

   private:
    FakeCri& fake_;
  };

  std::string dir_;
  Runtime runtime_;
  Images images_;
  std::unique_ptr<grpc::Server> server_;

  base::Mutex mu_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> pods_ ABSL_GUARDED_BY(mu_);  // id -> label
  cri::PodSandboxConfig pod_config_ ABSL_GUARDED_BY(mu_);
  std::string handler_ ABSL_GUARDED_BY(mu_);
  int64_t stop_timeout_ ABSL_GUARDED_BY(mu_) = -1;
};

}  // namespace berth::berthctl

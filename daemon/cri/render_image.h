// Images as the CRI shows them. Threads: pure functions. Source: CRI v1 Image, FilesystemUsage.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/cri/cri_api.h"
#include "lib/image/image_service.h"
#include "lib/model/image.h"

namespace berth::cri {

api::Image RenderImage(const model::ImageRecord& record);

// Value of info["info"] in a verbose answer: JSON as CRI-O has it: `labels` of the image, and
// `imageSpec`, its config as it was pulled. Of an artifact, whose config may be anything: null.
std::string ImageInfo(const model::ImageRecord& record);

// `directory`: one on the file system that holds them.
api::FilesystemUsage RenderUsage(const image::FsUsage& usage, const std::string& directory,
                                 int64_t now_ns);

}  // namespace berth::cri

// Directories that a layer needs but does not describe should look like those of the layers below
// it: an archive with only "tmp/x" must not turn a 1777 /tmp into 0755 for the image. Layers are
// unpacked without knowing what they will lie on, so this is done when all layers of the image are
// there.
//
// A layer that two images share keeps what it got from the first.
// Threads: none of its own; the layer must not be in use. Content is hostile: no symlink is
// followed.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "lib/snapshot/overlay_snapshotter.h"

namespace berth::image {

// Gives each of `dirs` in `layer` the owner, mode and times of the same directory in the nearest
// layer of `below` (nearest first) that has it, unless something between hides it.
absl::Status InheritDirs(const snapshot::OverlaySnapshotter& snapshotter, int64_t layer,
                         const std::vector<std::string>& dirs, const std::vector<int64_t>& below);

}  // namespace berth::image

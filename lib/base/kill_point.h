#pragma once

namespace edgecompress {

/// A place where a test may kill the process, to see what is left. When EDGECOMPRESS_KILL_AT is
/// this `name`, or "name:k" for its k-th passing, or "*:k" for the k-th passing of any such place,
/// SIGKILL follows. Does nothing in a build without tests (docs/testing.md).
void kill_point(const char* name);

}  // namespace edgecompress

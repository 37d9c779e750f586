#pragma once

#include <string>

namespace edgecompress {

/// The time now, UTC: "2000-01-01T00:00:00Z".
std::string utc_now();

}  // namespace edgecompress

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace edgecompress::cli {

/// The arguments that decide what a command writes, as sorted pairs of flag and value ("" for a
/// flag without one), so that an interrupted run knows its own command again in any order of flags.
/// Left out: flags that change no byte of a decoder block (threads, output, what is printed or
/// checked afterwards), and inputs whose content is compared instead. A flag that is not known here
/// stays in.
std::vector<std::pair<std::string, std::string>> request_flags(
    const std::vector<std::string>& arguments);

}  // namespace edgecompress::cli

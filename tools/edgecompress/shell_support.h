#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

/// A completion script of the whole command line, made of the option table. shell: "bash", "zsh" or
/// "fish".
std::string completion_script(const CLI::App& app, const std::string& shell);

/// A manual page (roff) of the program, command == app, or of one of its commands; its text is the
/// help's.
std::string manual_page(const CLI::App& app, const CLI::App& command);

}  // namespace edgecompress::cli

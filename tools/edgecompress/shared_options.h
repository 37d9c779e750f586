#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace edgecompress::cli {

/// Flags of every command that may take long.
struct MessageFlags {
  std::string progress = "auto";  ///< as ProgressLine::style_of takes it
  bool quiet = false;
  bool verbose = false;
  std::filesystem::path log_file;  ///< empty: none
};
void add_message_flags(CLI::App& command, MessageFlags& flags);

/// Flags of every command that computes.
struct ComputeFlags {
  int threads = 0;             ///< 0: all that the process may use
  std::string device = "cpu";  ///< "cpu" or "cuda"
  std::string max_memory;      ///< "8GiB", "75%"; empty: default_memory_budget()
  std::string dtype = "f32";   ///< of products: "f32" or "bf16"
  MessageFlags messages;
};
void add_compute_flags(CLI::App& command, ComputeFlags& flags);

/// --max-memory, for commands that walk over a model.
void add_memory_flag(CLI::App& command, ComputeFlags& flags);

/// Flags of every command that writes a folder.
struct OutputFlags {
  std::filesystem::path model;
  std::filesystem::path input_manifest;  ///< that its files must be in; empty: none
  std::filesystem::path output;
  bool overwrite = false;
  bool fresh = false;      ///< delete what an interrupted run left
  bool no_resume = false;  ///< the same, and leave nothing when interrupted
  bool dry_run = false;
  bool json = false;
};
void add_output_flags(CLI::App& command, OutputFlags& flags);

/// --dry-run, for commands whose output can be planned.
void add_dry_run_flag(CLI::App& command, OutputFlags& flags);

/// Text that steps are calibrated on.
struct CalibrationFlags {
  std::filesystem::path text;
  std::int64_t samples = 128;
  std::int64_t sequence_length = 512;
};
void add_calibration_flags(CLI::App& command, CalibrationFlags& flags);

/// Text that the result is scored on, before and after.
struct ScoreFlags {
  std::filesystem::path text;
  std::int64_t window = 512;
  std::int64_t windows = 0;  ///< 0: all
};
void add_score_flags(CLI::App& command, ScoreFlags& flags);

/// --set, repeatable: changes of a recipe, "path=value".
void add_override_flags(CLI::App& command, std::vector<std::string>& overrides);

/// Refuses those of `flags` that were given, as they would change nothing.
/// why: "only --method gptq reads it, and the method is rtn". Throws Error{Usage} U-IDLE naming the
/// first of them.
void refuse_idle_flags(const CLI::App& command, std::initializer_list<const char*> flags,
                       const std::string& why);

/// To be asked beside CLI::Range and CLI::PositiveNumber of a real number, which let NaN pass.
extern const CLI::Validator kNotNan;

/// "20%" or "0.2" as a share. Throws Error{Usage} naming `flag` outside [0, 1).
double parse_share(const std::string& text, const std::string& flag);

}  // namespace edgecompress::cli

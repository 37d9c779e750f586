#pragma once

#include <filesystem>
#include <string>

#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// The recipe as it is, bases and variables put in, with the SHA-256 of every file of the model
/// that is read and of both texts, and the version of edgecompress. Running it on the same files
/// gives the same bytes; on others it is refused. lock_path: where the text will be written; its
/// paths are relative to that folder. Cost: reads the whole model once. Throws Error{Missing} for a
/// file that is not there.
///
/// report: of a run of this recipe on this model, or nullptr. With it, the grids that a size target
/// chose stand in the lock as rules, and the target is gone. Throws Error{Conflict} L2 when it is
/// of another recipe or the recipe has no size target.
std::string locked_recipe(const Recipe& recipe, const std::filesystem::path& model,
                          const std::filesystem::path& lock_path, const Report* report = nullptr);

/// Refuses inputs that are not those of the recipe's lock, if it has one; names every file.
/// Throws Error{Conflict} L1. Cost: reads the whole model once.
void check_lock(const Recipe& recipe, const std::filesystem::path& model);

}  // namespace edgecompress

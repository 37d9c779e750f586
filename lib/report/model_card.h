#pragma once

#include <string>
#include <string_view>

#include "report/report.h"

namespace edgecompress {

/// README.md of an output folder: front matter as Hugging Face's hub reads it, then the report's
/// tables. license: of the source model's card; empty: none is stated. No path of this machine and
/// nothing that was not measured is in it.
std::string model_card(const Report& report, const std::string& license);

/// The `license` that a card's front matter states as a plain word ("llama2", "apache-2.0"); empty
/// when it states none.
std::string license_of_card(std::string_view card);

}  // namespace edgecompress

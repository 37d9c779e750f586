#pragma once

#include <string>
#include <vector>

#include "recipe/node.h"

namespace edgecompress {

/// A tree as block-style YAML of the recipe language; reading it gives an equal tree.
/// origins: for every value the name of its source by SourceSpan.source, written as a comment
/// behind it ("# base.ec.yaml:12"); empty: no comments.
std::string yaml_text(const YamlNode& node, const std::vector<std::string>& origins = {});

/// Text in double quotes with the escapes that YAML and JSON share.
std::string yaml_quoted(const std::string& text);

}  // namespace edgecompress

#pragma once

#include <optional>
#include <string>
#include <vector>

namespace edgecompress {

// Pictures as inline SVG without script. Text colours come from the page's CSS (classes "ink",
// "muted", "grid", "mark", "line0" ...), so that they follow its light and dark form. Equal values
// give equal bytes.

/// A table of coloured cells. A cell without a value is left empty.
struct HeatMap {
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<std::vector<std::optional<double>>> values;  ///< [row][column]
  std::vector<std::vector<std::string>> labels;            ///< [row][column], shown in the cell
};
std::string heat_map_svg(const HeatMap& map);

/// Points joined in their order, each with its name.
struct ScatterPoint {
  std::string name;
  double x = 0;
  double y = 0;
  std::string hint;  ///< shown when pointed at
};
std::string scatter_svg(const std::vector<ScatterPoint>& points, const std::string& x_axis,
                        const std::string& y_axis);

/// Lines over layers 0, 1, ...; a value that is absent breaks its line. At most eight.
struct LayerLine {
  std::string name;
  std::vector<std::optional<double>> values;
};
std::string layer_lines_svg(const std::vector<LayerLine>& lines, const std::string& y_axis);

/// Bars of parts above each other's scale: one row per bar, parts in one order.
struct StackedBar {
  std::string name;
  std::vector<double> parts;
  std::string total;  ///< text behind the bar
};
std::string stacked_bars_svg(const std::vector<StackedBar>& bars,
                             const std::vector<std::string>& part_names);

}  // namespace edgecompress

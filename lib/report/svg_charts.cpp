#include "report/svg_charts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "report/html_text.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

std::string coordinate(double value) { return formatted("%.1f", value); }

std::string text_at(double x, double y, const std::string& css, const std::string& anchor,
                    const std::string& text) {
  return concat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" class=\"", css,
                "\" text-anchor=\"", anchor, "\">", html_escaped(text), "</text>");
}

std::string line_at(double x1, double y1, double x2, double y2, const std::string& css) {
  return concat("<line x1=\"", coordinate(x1), "\" y1=\"", coordinate(y1), "\" x2=\"",
                coordinate(x2), "\" y2=\"", coordinate(y2), "\" class=\"", css, "\"/>");
}

std::string svg(double width, double height, const std::string& title, const std::string& body) {
  return concat("<svg viewBox=\"0 0 ", coordinate(width), " ", coordinate(height),
                "\" role=\"img\" aria-label=\"", html_escaped(title), "\">", body, "</svg>\n");
}

struct Colour {
  int red;
  int green;
  int blue;
};

/// From pale yellow over green to dark blue: readable without telling red from green, and in grey.
Colour heat_colour(double share) {
  constexpr std::array<Colour, 5> kStops{
      {{255, 247, 188}, {161, 218, 180}, {65, 182, 196}, {34, 94, 168}, {8, 29, 88}}};
  const double place = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const auto low = std::min<std::size_t>(static_cast<std::size_t>(place), kStops.size() - 2);
  const double part = place - static_cast<double>(low);
  const auto mixed = [&](int Colour::* channel) {
    return static_cast<int>(
        std::lround((1 - part) * kStops[low].*channel + part * kStops[low + 1].*channel));
  };
  return {mixed(&Colour::red), mixed(&Colour::green), mixed(&Colour::blue)};
}

/// Black or white, whichever stands out (relative luminance of WCAG 2, without its gamma).
const char* ink_on(const Colour& colour) {
  const double light = 0.2126 * colour.red + 0.7152 * colour.green + 0.0722 * colour.blue;
  return light > 120 ? "#000" : "#fff";
}

/// The values' range, widened where it is empty.
struct Range {
  double low = 0;
  double high = 1;
  double share(double value) const { return (value - low) / (high - low); }
};

Range range_of(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return {};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) return {*low, *low + std::max(std::abs(*low), 1e-12)};
  return {*low, *high};
}

constexpr double kLeft = 64;
constexpr double kTop = 28;
constexpr double kPlotWidth = 420;
constexpr double kPlotHeight = 200;

double plot_x(double share) { return kLeft + share * kPlotWidth; }
double plot_y(double share) { return kTop + (1 - share) * kPlotHeight; }

/// Four to nine round numbers in a range, ascending: multiples of 1, 2 or 5 times a power of ten.
std::vector<double> ticks_in(const Range& range) {
  constexpr double kMostTicks = 8;
  const double rough = (range.high - range.low) / kMostTicks;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double factor = rough / power;
  const double step = power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
  constexpr double kSlack = 1e-9;  // of a step, for bounds that are ticks themselves
  std::vector<double> ticks;
  for (double i = std::ceil(range.low / step - kSlack); i <= range.high / step + kSlack; ++i) {
    ticks.push_back(i * step + 0.0);  // -0 becomes 0
  }
  return ticks;
}

/// The same for counts: no part of a whole number.
std::vector<double> whole_ticks_in(const Range& range) {
  std::vector<double> ticks = ticks_in(range);
  std::erase_if(ticks, [](double tick) { return std::abs(tick - std::round(tick)) > 1e-6; });
  return ticks;
}

/// What an axis says under it and at its ticks.
struct Axis {
  Range range;
  std::vector<double> ticks;
  std::string name;
};

std::string axes(const Axis& x, const Axis& y) {
  std::string out;
  for (const double tick : y.ticks) {
    const double place = plot_y(y.range.share(tick));
    out += line_at(kLeft, place, kLeft + kPlotWidth, place, "grid");
    out += text_at(kLeft - 6, place + 4, "muted", "end", formatted("%.6g", tick));
  }
  for (const double tick : x.ticks) {
    out += text_at(plot_x(x.range.share(tick)), kTop + kPlotHeight + 16, "muted", "middle",
                   formatted("%.6g", tick));
  }
  out += line_at(kLeft, kTop + kPlotHeight, kLeft + kPlotWidth, kTop + kPlotHeight, "grid");
  out += text_at(kLeft + kPlotWidth / 2, kTop + kPlotHeight + 34, "ink", "middle", x.name);
  out += text_at(4, 14, "ink", "start", y.name);
  return out;
}

}  // namespace

std::string heat_map_svg(const HeatMap& map) {
  constexpr double kCellWidth = 56;
  constexpr double kCellHeight = 22;
  constexpr double kLabelWidth = 34;
  std::vector<double> all;
  for (const auto& row : map.values) {
    for (const auto& value : row) {
      if (value) all.push_back(*value);
    }
  }
  const Range range = range_of(all);
  std::string out;
  for (std::size_t column = 0; column < map.columns.size(); ++column) {
    out += text_at(kLabelWidth + (static_cast<double>(column) + 0.5) * kCellWidth, 14, "muted",
                   "middle", map.columns[column]);
  }
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    const double y = 20 + static_cast<double>(row) * kCellHeight;
    out += text_at(kLabelWidth - 6, y + 15, "muted", "end", map.rows[row]);
    for (std::size_t column = 0; column < map.columns.size(); ++column) {
      const std::optional<double>& value = map.values[row][column];
      if (!value) continue;
      const Colour colour = heat_colour(std::isfinite(*value) ? range.share(*value) : 1);
      const double x = kLabelWidth + static_cast<double>(column) * kCellWidth;
      out += concat(
          "<g><title>layer ", html_escaped(map.rows[row]), ", ", html_escaped(map.columns[column]),
          ": ", html_escaped(map.labels[row][column]), "</title><rect x=\"", coordinate(x + 1),
          "\" y=\"", coordinate(y + 1), "\" width=\"", coordinate(kCellWidth - 2), "\" height=\"",
          coordinate(kCellHeight - 2), "\" rx=\"2\" fill=\"rgb(", colour.red, ",", colour.green,
          ",", colour.blue, ")\"/><text x=\"", coordinate(x + kCellWidth / 2), "\" y=\"",
          coordinate(y + 15), "\" text-anchor=\"middle\" fill=\"", ink_on(colour), "\">",
          html_escaped(map.labels[row][column]), "</text></g>");
    }
  }
  return svg(kLabelWidth + static_cast<double>(map.columns.size()) * kCellWidth,
             24 + static_cast<double>(map.rows.size()) * kCellHeight, "heat map", out);
}

std::string scatter_svg(const std::vector<ScatterPoint>& points, const std::string& x_axis,
                        const std::string& y_axis) {
  std::vector<double> xs{0};
  std::vector<double> ys;
  for (const ScatterPoint& point : points) {
    xs.push_back(point.x);
    ys.push_back(point.y);
  }
  const Range x = range_of(xs);
  Range y = range_of(ys);
  const double margin = 0.12 * (y.high - y.low);  // names stand above the points
  y = {y.low - margin, y.high + margin};
  std::string path;
  std::string marks;
  for (const ScatterPoint& point : points) {
    const double left = plot_x(x.share(point.x));
    const double top = plot_y(y.share(point.y));
    path += concat(path.empty() ? "M" : " L", coordinate(left), " ", coordinate(top));
    const bool right_half = x.share(point.x) > 0.75;
    marks += concat("<g><title>", html_escaped(point.hint), "</title><circle cx=\"",
                    coordinate(left), "\" cy=\"", coordinate(top), "\" r=\"5\" class=\"mark\"/>",
                    text_at(left + (right_half ? -9 : 9), top - 8, "ink",
                            right_half ? "end" : "start", point.name),
                    "</g>");
  }
  return svg(kLeft + kPlotWidth + 16, kTop + kPlotHeight + 42, y_axis + " against " + x_axis,
             axes({x, ticks_in(x), x_axis}, {y, ticks_in(y), y_axis}) + "<path d=\"" + path +
                 "\" class=\"path\"/>" + marks);
}

std::string layer_lines_svg(const std::vector<LayerLine>& lines, const std::string& y_axis) {
  std::vector<double> ys{0};
  std::size_t num_layers = 2;
  for (const LayerLine& line : lines) {
    num_layers = std::max(num_layers, line.values.size());
    for (const auto& value : line.values) {
      if (value) ys.push_back(*value);
    }
  }
  const Range x{0, static_cast<double>(num_layers - 1)};
  const Range y = range_of(ys);
  std::string out = axes({x, whole_ticks_in(x), "decoder block"}, {y, ticks_in(y), y_axis});
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string path;
    bool pen_down = false;
    for (std::size_t layer = 0; layer < lines[i].values.size(); ++layer) {
      const std::optional<double>& value = lines[i].values[layer];
      if (!value || !std::isfinite(*value)) {
        pen_down = false;
        continue;
      }
      path +=
          concat(pen_down ? " L" : " M", coordinate(plot_x(x.share(static_cast<double>(layer)))),
                 " ", coordinate(plot_y(y.share(*value))));
      pen_down = true;
    }
    out += concat("<path d=\"", path, "\" class=\"line", i % 8, "\"/>");
    const double place = kLeft + 8 + static_cast<double>(i) * 62;
    out += concat("<rect x=\"", coordinate(place), "\" y=\"", coordinate(kTop + kPlotHeight + 46),
                  "\" width=\"12\" height=\"10\" class=\"fill", i % 8, "\"/>");
    out += text_at(place + 16, kTop + kPlotHeight + 55, "ink", "start", lines[i].name);
  }
  return svg(kLeft + kPlotWidth + 16, kTop + kPlotHeight + 64, y_axis + " by decoder block", out);
}

std::string stacked_bars_svg(const std::vector<StackedBar>& bars,
                             const std::vector<std::string>& part_names) {
  constexpr double kBarLeft = 76;
  constexpr double kBarWidth = 320;
  constexpr double kBarStep = 34;
  double longest = 0;
  for (const StackedBar& bar : bars) {
    double sum = 0;
    for (const double part : bar.parts) sum += part;
    longest = std::max(longest, sum);
  }
  if (longest <= 0) longest = 1;
  std::string out;
  double y = 4;
  for (const StackedBar& bar : bars) {
    out += text_at(kBarLeft - 6, y + 17, "ink", "end", bar.name);
    double x = kBarLeft;
    for (std::size_t i = 0; i < bar.parts.size(); ++i) {
      const double width = bar.parts[i] / longest * kBarWidth;
      out += concat("<g><title>", html_escaped(part_names[i]), ": ",
                    size_text(static_cast<std::int64_t>(bar.parts[i])), "</title><rect x=\"",
                    coordinate(x), "\" y=\"", coordinate(y), "\" width=\"", coordinate(width),
                    "\" height=\"24\" class=\"fill", i % 8, "\"/></g>");
      x += width;
    }
    out += text_at(x + 6, y + 17, "ink", "start", bar.total);
    y += kBarStep;
  }
  for (std::size_t i = 0; i < part_names.size(); ++i) {
    const double place = kBarLeft + static_cast<double>(i) * 104;
    out += concat("<rect x=\"", coordinate(place), "\" y=\"", coordinate(y + 4),
                  "\" width=\"12\" height=\"10\" class=\"fill", i % 8, "\"/>");
    out += text_at(place + 16, y + 13, "ink", "start", part_names[i]);
  }
  return svg(kBarLeft + kBarWidth + 100, y + 24, "size by part", out);
}

}  // namespace edgecompress

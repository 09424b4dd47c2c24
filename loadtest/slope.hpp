// The slope of a line through measured points, by least squares. One thread.
#pragma once

#include <utility>
#include <vector>

namespace millrace::loadtest {

class Slope {
 public:
  void add(double x, double y) { points_.emplace_back(x, y); }

  // y per x over the points with x >= from_x; 0 with fewer than two of them.
  double slope_from(double from_x) const {
    double n = 0, sum_x = 0, sum_y = 0;
    for (const auto& [x, y] : points_) {
      if (x < from_x) continue;
      n += 1;
      sum_x += x;
      sum_y += y;
    }
    if (n < 2) return 0;
    double above = 0, below = 0;  // relative to the means, which keeps the precision for large y
    for (const auto& [x, y] : points_) {
      if (x < from_x) continue;
      above += (x - sum_x / n) * (y - sum_y / n);
      below += (x - sum_x / n) * (x - sum_x / n);
    }
    return below > 0 ? above / below : 0;
  }

 private:
  std::vector<std::pair<double, double>> points_;
};

}  // namespace millrace::loadtest

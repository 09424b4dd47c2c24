// One producer, and two consumers in sequence: each sees every event, in order, and the second sees
// an event after the first has handled it.
#include <core/disruptor/disruptor.hpp>
#include <iostream>

struct Order {
  int quantity = 0;
  double price = 0;
  double total = 0;  // filled in by the first consumer, used by the second
};

int main() {
  double sum = 0;
  millrace::disruptor::Disruptor<Order> line({.capacity = 64});
  auto price = line.add("price", [](Order& order, std::int64_t, bool) {
    order.total = order.quantity * order.price;
  });
  line.add("sum", [&sum](Order& order, std::int64_t, bool) { sum += order.total; }, {price});
  line.start();
  for (int i = 1; i <= 1000; ++i) {
    if (!line.producer().publish_with([i](Order& order) { order = {i, 0.5}; })) return 1;
  }
  if (!line.drain()) return 1;  // all seen, and the consumers' threads have ended
  std::cout << "the orders are worth " << sum << '\n';
}

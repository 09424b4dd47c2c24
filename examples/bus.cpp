// A thread publishes faster than another reads: the bus keeps the newest value of each topic, and the
// reader knows how many it skipped.
#include <core/latest/bus.hpp>
#include <iostream>
#include <string>

int main() {
  millrace::latest::Bus<std::string> bus;
  auto subscriber = bus.subscribe("engine/speed");
  for (int speed = 1; speed <= 1000; ++speed) {
    if (!bus.publish("engine/speed", std::to_string(speed) + " rpm")) return 1;
  }
  const auto news = subscriber.try_get();
  std::cout << *news.value() << ", " << news.skipped() << " values skipped\n";
}

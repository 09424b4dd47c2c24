// Several threads pass numbers to one: the elastic queue, which grows when it is full, up to
// max_capacity.
#include <core/queue/elastic_mpsc_queue.hpp>
#include <iostream>
#include <thread>
#include <vector>

int main() {
  using namespace std::chrono_literals;
  const auto made = millrace::queue::ElasticMpscQueue<int>::create({.max_capacity = 65'536});
  if (!made.has_value()) return 1;  // an invalid configuration is an error
  const auto& queue = made.value();

  std::vector<std::jthread> producers;
  for (int producer = 0; producer < 4; ++producer) {
    producers.emplace_back([&queue] {
      for (int i = 1; i <= 1000; ++i) queue->push_for(int(i), 10s).value();
    });
  }
  long sum = 0;
  for (int i = 0; i < 4 * 1000; ++i) sum += queue->pop_for(10s).value();
  std::cout << "the sum of all is " << sum << '\n';
}

// The routes under /api/v1 are those of openapi.json, and the other way round.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "server/api/api.hpp"
#include "server/api/openapi.hpp"
#include "tests/server/http/topics_world.hpp"

namespace millrace::server {
namespace {

// "GET /api/v1/clients/*"
using Routes = std::set<std::string>;

constexpr std::string_view base = "/api/v1";

// All that an HTTP server has under /api, with the routes of topics, events and management.
Routes served() {
  const HttpConfig config;
  broker::Processor processor({});
  broker::Inbox inbox(broker::InboxLimits{}, processor);
  Worker worker;
  Guests guests{Config()};
  const Upstreams upstreams({});
  const auto settings = std::make_shared<const Settings>(Settings{{}, access_of({})});
  HttpServer http(config);
  TopicRoutes topics(http, processor.topics(), config, worker, settings->access);
  EventRoutes events(http, inbox, topics, {}, TopicsWorld::latest);
  const ApiRoutes api({http, inbox, processor, topics, events, {}, {}, nullptr, guests, upstreams},
                      settings);
  Routes routes;
  for (const auto& [method, pattern] : http.routes()) {
    if (pattern.starts_with("/api")) routes.insert(method + " " + pattern);
  }
  return routes;
}

// "/clients/{id}" to "/clients/*": only the rest of a path can be a variable.
std::string pattern_of(std::string path) {
  const auto brace = path.find('{');
  if (brace != std::string::npos && path.ends_with('}')) path.replace(brace, path.npos, "*");
  return std::string(base) + path;
}

Routes described() {
  const std::set<std::string> methods = {"get",     "put",  "post",  "delete",
                                         "options", "head", "patch", "trace"};
  const auto document = nlohmann::json::parse(openapi_document);
  EXPECT_EQ(document["servers"][0]["url"], base);
  Routes routes;
  for (const auto& [path, item] : document["paths"].items()) {
    for (const auto& [key, operation] : item.items()) {
      if (!methods.contains(key)) continue;  // `parameters` of all of them, and the like
      std::string method = key;
      std::transform(method.begin(), method.end(), method.begin(),
                     [](char letter) { return static_cast<char>(letter - 'a' + 'A'); });
      routes.insert(method + " " + pattern_of(path));
    }
  }
  return routes;
}

Routes without(const Routes& all, const Routes& known) {
  Routes rest;
  std::set_difference(all.begin(), all.end(), known.begin(), known.end(),
                      std::inserter(rest, rest.end()));
  return rest;
}

TEST(ApiRoutes, AreAllInTheDocument) {
  const Routes routes = served();
  EXPECT_GT(routes.size(), 20u);
  EXPECT_EQ(without(routes, described()), Routes());
}

TEST(ApiRoutes, AreThereIfTheDocumentHasThem) {
  EXPECT_EQ(without(described(), served()), Routes());
}

}  // namespace
}  // namespace millrace::server

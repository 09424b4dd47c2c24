/* The Eclipse Paho C client (synchronous), 3.1.1 and 5.0: paho_c ADDRESS, for example
   tcp://127.0.0.1:1883. The program ends at the first check that fails. */

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { timeout_ms = 60000 };

static const char* address;
static int checks = 0;

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                     \
    }                                                                              \
    ++checks;                                                                      \
  } while (0)

static MQTTClient make(const char* identifier, int version) {
  MQTTClient client;
  MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
  options.MQTTVersion = version;
  CHECK(MQTTClient_createWithOptions(&client, address, identifier, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                     &options) == MQTTCLIENT_SUCCESS);
  return client;
}

static void add_number(MQTTProperties* properties, enum MQTTPropertyCodes code, unsigned number) {
  MQTTProperty property;
  property.identifier = code;
  if (code == MQTTPROPERTY_CODE_TOPIC_ALIAS || code == MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM)
    property.value.integer2 = (unsigned short)number;
  else
    property.value.integer4 = number;
  CHECK(MQTTProperties_add(properties, &property) == 0);
}

/* Connects with 5.0 and these properties. */
static int join5(MQTTClient client, int clean, MQTTClient_willOptions* will,
                 MQTTProperties* properties, MQTTProperties* will_properties) {
  MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer5;
  options.MQTTVersion = MQTTVERSION_5;
  options.will = will;
  options.cleanstart = clean;
  MQTTResponse response = MQTTClient_connect5(client, &options, properties, will_properties);
  CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
  const int present = options.returned.sessionPresent;
  MQTTResponse_free(response);
  return present;
}

/* Connects; returns whether the server had a session. */
static int join(MQTTClient client, int version, int clean, MQTTClient_willOptions* will) {
  if (version == MQTTVERSION_5) {
    MQTTProperties properties = MQTTProperties_initializer;
    add_number(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, clean ? 0 : 60);
    const int present = join5(client, clean, will, &properties, NULL);
    MQTTProperties_free(&properties);
    return present;
  }
  MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
  options.MQTTVersion = version;
  options.will = will;
  options.cleansession = clean;
  CHECK(MQTTClient_connect(client, &options) == MQTTCLIENT_SUCCESS);
  return options.returned.sessionPresent;
}

static void subscribe(MQTTClient client, int version, const char* filter, int qos) {
  if (version != MQTTVERSION_5) {
    CHECK(MQTTClient_subscribe(client, filter, qos) == MQTTCLIENT_SUCCESS);
    return;
  }
  MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
  CHECK((int)response.reasonCode == qos);
  MQTTResponse_free(response);
}

static void publish(MQTTClient client, int version, const char* topic, const char* text, int qos,
                    int retained, MQTTProperties* properties) {
  MQTTClient_message message = MQTTClient_message_initializer;
  message.payload = (void*)text;
  message.payloadlen = (int)strlen(text);
  message.qos = qos;
  message.retained = retained;
  MQTTClient_deliveryToken token;
  if (version == MQTTVERSION_5) {
    if (properties) message.properties = *properties;
    MQTTResponse response = MQTTClient_publishMessage5(client, topic, &message, &token);
    CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
    MQTTResponse_free(response);
  } else {
    CHECK(MQTTClient_publishMessage(client, topic, &message, &token) == MQTTCLIENT_SUCCESS);
  }
  if (qos) CHECK(MQTTClient_waitForCompletion(client, token, timeout_ms) == MQTTCLIENT_SUCCESS);
}

/* Any next message; the caller frees both. */
static MQTTClient_message* receive_any(MQTTClient client, char** topic) {
  int length = 0;
  MQTTClient_message* message = NULL;
  CHECK(MQTTClient_receive(client, topic, &length, &message, timeout_ms) == MQTTCLIENT_SUCCESS);
  CHECK(message != NULL);
  return message;
}

/* Checks that the next message is this one; the caller frees it. */
static MQTTClient_message* receive(MQTTClient client, const char* topic, const char* text) {
  char* name = NULL;
  MQTTClient_message* message = receive_any(client, &name);
  CHECK(strcmp(name, topic) == 0);
  CHECK(message->payloadlen == (int)strlen(text));
  CHECK(memcmp(message->payload, text, strlen(text)) == 0);
  MQTTClient_free(name);
  return message;
}

static void expect(MQTTClient client, const char* topic, const char* text, int qos, int retained) {
  MQTTClient_message* message = receive(client, topic, text);
  CHECK(message->qos == qos);
  CHECK(message->retained == retained);
  MQTTClient_freeMessage(&message);
}

static void leave(MQTTClient client, int version) {
  if (version == MQTTVERSION_5)
    CHECK(MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL) == MQTTCLIENT_SUCCESS);
  else
    CHECK(MQTTClient_disconnect(client, 1000) == MQTTCLIENT_SUCCESS);
  MQTTClient_destroy(&client);
}

static void qos_and_retain(int version) {
  MQTTClient client = make("paho-c", version);
  join(client, version, 1, NULL);
  for (int qos = 0; qos <= 2; ++qos) {
    char topic[40];
    snprintf(topic, sizeof topic, "c/%d/qos/%d", version, qos);
    subscribe(client, version, topic, qos);
    publish(client, version, topic, "hello", qos, 0, NULL);
    expect(client, topic, "hello", qos, 0);
  }
  char kept[40];
  snprintf(kept, sizeof kept, "c/%d/kept", version);
  publish(client, version, kept, "kept", 1, 1, NULL);
  subscribe(client, version, kept, 1);
  expect(client, kept, "kept", 1, 1);
  leave(client, version);
}

static void queued(int version) {
  const char* topic = version == MQTTVERSION_5 ? "c/5/queued" : "c/4/queued";
  const char* name = version == MQTTVERSION_5 ? "paho-c-sleeper5" : "paho-c-sleeper4";
  MQTTClient sleeper = make(name, version);
  CHECK(join(sleeper, version, 0, NULL) == 0);
  subscribe(sleeper, version, topic, 2);
  leave(sleeper, version);
  MQTTClient sender = make("paho-c-sender", version);
  join(sender, version, 1, NULL);
  for (int number = 0; number < 5; ++number) {
    const char text[] = {(char)('0' + number), 0};
    publish(sender, version, topic, text, 2, 0, NULL);
  }
  sleeper = make(name, version);
  /* With MQTT 5 the library does not report "session present"; the queued messages show it. */
  const int present = join(sleeper, version, 0, NULL);
  CHECK(version == MQTTVERSION_5 || present == 1);
  for (int number = 0; number < 5; ++number) {
    const char text[] = {(char)('0' + number), 0};
    expect(sleeper, topic, text, 2, 0);
  }
  leave(sleeper, version);
  leave(sender, version);
}

/* A child process that ends without DISCONNECT. In 5.0 its will has a delay of a second. */
static void die(int version) {
  MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
  will.topicName = "c/will";
  will.message = "gone";
  will.qos = 1;
  MQTTClient mortal = make("paho-c-mortal", version);
  if (version == MQTTVERSION_5) {
    MQTTProperties properties = MQTTProperties_initializer, delay = MQTTProperties_initializer;
    add_number(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 60);
    add_number(&delay, MQTTPROPERTY_CODE_WILL_DELAY_INTERVAL, 1);
    join5(mortal, 1, &will, &properties, &delay);
  } else {
    join(mortal, version, 1, &will);
  }
  _exit(0);
}

static void will(const char* program, int version) {
  MQTTClient watcher = make("paho-c-watcher", version);
  join(watcher, version, 1, NULL);
  subscribe(watcher, version, "c/will", 1);
  char command[1000];
  snprintf(command, sizeof command, "'%s' %s %d", program, address, version);
  CHECK(system(command) == 0);
  expect(watcher, "c/will", "gone", 1, 0);
  leave(watcher, version);
}

/* The number of messages before the one on `end`. */
static int count_until(MQTTClient client, const char* end) {
  for (int count = 0;; ++count) {
    char* topic = NULL;
    MQTTClient_message* message = receive_any(client, &topic);
    const int is_end = strcmp(topic, end) == 0;
    MQTTClient_freeMessage(&message);
    MQTTClient_free(topic);
    if (is_end) return count;
  }
}

static void shared_subscription(int version) {
  MQTTClient one = make("paho-c-one", version), two = make("paho-c-two", version);
  join(one, version, 1, NULL);
  join(two, version, 1, NULL);
  MQTTClient members[] = {one, two};
  for (int member = 0; member < 2; ++member) {
    subscribe(members[member], version, "$share/pair/c/jobs", 1);
    subscribe(members[member], version, "c/end", 1);
  }
  MQTTClient sender = make("paho-c-sender", version);
  join(sender, version, 1, NULL);
  for (int number = 0; number < 10; ++number) publish(sender, version, "c/jobs", "job", 1, 0, NULL);
  publish(sender, version, "c/end", "end", 1, 0, NULL);
  const int first = count_until(one, "c/end"), second = count_until(two, "c/end");
  CHECK(first > 0 && second > 0 && first + second == 10);
  leave(one, version);
  leave(two, version);
  leave(sender, version);
}

/* The library neither assigns nor resolves aliases, so the test does both. */
static void topic_aliases(void) {
  MQTTClient reader = make("paho-c-reader", MQTTVERSION_5), sender = make("paho-c-alias", MQTTVERSION_5);
  MQTTProperties maximum = MQTTProperties_initializer, alias = MQTTProperties_initializer;
  add_number(&maximum, MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM, 1);
  add_number(&alias, MQTTPROPERTY_CODE_TOPIC_ALIAS, 3);
  join5(reader, 1, NULL, &maximum, NULL);
  join(sender, MQTTVERSION_5, 1, NULL);
  subscribe(reader, MQTTVERSION_5, "c/alias", 1);
  publish(sender, MQTTVERSION_5, "c/alias", "spelled", 1, 0, &alias);
  publish(sender, MQTTVERSION_5, "", "by its number", 1, 0, &alias);
  const char* topics[] = {"c/alias", ""};
  const char* texts[] = {"spelled", "by its number"};
  for (int number = 0; number < 2; ++number) {
    MQTTClient_message* message = receive(reader, topics[number], texts[number]);
    MQTTProperty* given =
        MQTTProperties_getProperty(&message->properties, MQTTPROPERTY_CODE_TOPIC_ALIAS);
    CHECK(given && given->value.integer2 == 1);
    MQTTClient_freeMessage(&message);
  }
  MQTTProperties_free(&maximum);
  MQTTProperties_free(&alias);
  leave(reader, MQTTVERSION_5);
  leave(sender, MQTTVERSION_5);
}

static void request_and_response(void) {
  MQTTClient asks = make("paho-c-asks", MQTTVERSION_5), answers = make("paho-c-answers", MQTTVERSION_5);
  join(asks, MQTTVERSION_5, 1, NULL);
  join(answers, MQTTVERSION_5, 1, NULL);
  subscribe(answers, MQTTVERSION_5, "$share/workers/c/ask", 1);
  subscribe(asks, MQTTVERSION_5, "c/answer", 1);
  MQTTProperties properties = MQTTProperties_initializer;
  MQTTProperty property;
  property.identifier = MQTTPROPERTY_CODE_RESPONSE_TOPIC;
  property.value.data.data = "c/answer";
  property.value.data.len = 8;
  MQTTProperties_add(&properties, &property);
  property.identifier = MQTTPROPERTY_CODE_CORRELATION_DATA;
  property.value.data.data = "\0\1\2";
  property.value.data.len = 3;
  MQTTProperties_add(&properties, &property);
  property.identifier = MQTTPROPERTY_CODE_USER_PROPERTY;
  property.value.data.data = "key";
  property.value.data.len = 3;
  property.value.value.data = "value";
  property.value.value.len = 5;
  MQTTProperties_add(&properties, &property);
  publish(asks, MQTTVERSION_5, "c/ask", "2+2", 1, 0, &properties);

  MQTTClient_message* request = receive(answers, "c/ask", "2+2");
  MQTTProperty* topic =
      MQTTProperties_getProperty(&request->properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC);
  MQTTProperty* correlation =
      MQTTProperties_getProperty(&request->properties, MQTTPROPERTY_CODE_CORRELATION_DATA);
  MQTTProperty* user = MQTTProperties_getProperty(&request->properties, MQTTPROPERTY_CODE_USER_PROPERTY);
  CHECK(topic && correlation && user);
  CHECK(topic->value.data.len == 8 && memcmp(topic->value.data.data, "c/answer", 8) == 0);
  CHECK(correlation->value.data.len == 3 && memcmp(correlation->value.data.data, "\0\1\2", 3) == 0);
  CHECK(user->value.value.len == 5 && memcmp(user->value.value.data, "value", 5) == 0);
  publish(answers, MQTTVERSION_5, "c/answer", "4", 1, 0, NULL);
  expect(asks, "c/answer", "4", 1, 0);
  MQTTClient_freeMessage(&request);
  MQTTProperties_free(&properties);
  leave(asks, MQTTVERSION_5);
  leave(answers, MQTTVERSION_5);
}

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    fprintf(stderr, "paho_c ADDRESS\n");
    return 2;
  }
  address = arguments[1];
  if (count == 3) die(atoi(arguments[2]));
  const int versions[] = {MQTTVERSION_3_1_1, MQTTVERSION_5};
  for (int at = 0; at < 2; ++at) {
    qos_and_retain(versions[at]);
    queued(versions[at]);
    shared_subscription(versions[at]);
    will(arguments[0], versions[at]);
  }
  topic_aliases();
  request_and_response();
  printf("paho C: %d checks hold\n", checks);
  return 0;
}

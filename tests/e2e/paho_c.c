/* The Eclipse Paho C client (synchronous), 3.1.1 and 5.0: paho_c ADDRESS, for example
   tcp://127.0.0.1:1883. Each check ends the program when it does not hold. */

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Connects; the answer tells whether the server had a session. */
static int join(MQTTClient client, int version, int clean, MQTTClient_willOptions* will) {
  MQTTClient_connectOptions old = MQTTClient_connectOptions_initializer;
  MQTTClient_connectOptions new = MQTTClient_connectOptions_initializer5;
  MQTTClient_connectOptions options = version == MQTTVERSION_5 ? new : old;
  options.MQTTVersion = version;
  options.will = will;
  if (version != MQTTVERSION_5) {
    options.cleansession = clean;
    CHECK(MQTTClient_connect(client, &options) == MQTTCLIENT_SUCCESS);
    return options.returned.sessionPresent;
  }
  options.cleanstart = clean;
  MQTTProperties properties = MQTTProperties_initializer;
  MQTTProperty expiry;
  expiry.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL;
  expiry.value.integer4 = clean ? 0 : 60;
  MQTTProperties_add(&properties, &expiry);
  MQTTResponse response = MQTTClient_connect5(client, &options, &properties, NULL);
  CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
  const int present = options.returned.sessionPresent;
  MQTTResponse_free(response);
  MQTTProperties_free(&properties);
  return present;
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

/* The next message has to be this one; the caller frees it. */
static MQTTClient_message* receive(MQTTClient client, const char* topic, const char* text) {
  char* name = NULL;
  int length = 0;
  MQTTClient_message* message = NULL;
  const int status = MQTTClient_receive(client, &name, &length, &message, timeout_ms);
  if (status != MQTTCLIENT_SUCCESS) fprintf(stderr, "%s: receive says %d\n", topic, status);
  CHECK(status == MQTTCLIENT_SUCCESS);
  CHECK(message != NULL);
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
  /* With MQTT 5 the library does not tell "session present"; what was queued shows it. */
  const int present = join(sleeper, version, 0, NULL);
  CHECK(version == MQTTVERSION_5 || present == 1);
  for (int number = 0; number < 5; ++number) {
    const char text[] = {(char)('0' + number), 0};
    expect(sleeper, topic, text, 2, 0);
  }
  leave(sleeper, version);
  leave(sender, version);
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
  if (count != 2) {
    fprintf(stderr, "paho_c ADDRESS\n");
    return 2;
  }
  address = arguments[1];
  const int versions[] = {MQTTVERSION_3_1_1, MQTTVERSION_5};
  for (int at = 0; at < 2; ++at) {
    qos_and_retain(versions[at]);
    queued(versions[at]);
  }
  request_and_response();
  printf("paho C: %d checks hold\n", checks);
  return 0;
}

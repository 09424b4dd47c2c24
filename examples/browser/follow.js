// Follows the newest value of each topic that a filter matches, with MQTT.js. A page that cannot keep
// up (a slow link, a busy tab) skips values and stays current: that is what `$latest/` asks for.
//
// MQTT.js hands every message to one listener, so it does not matter that the messages carry the topic
// without the prefix.
export function follow(mqtt, url, filter, onValue, onState = () => {}) {
  const client = mqtt.connect(url, { protocolVersion: 5 })
  client.on('connect', () => {
    onState('connected')
    client.subscribe(`$latest/${filter}`)
  })
  client.on('message', (topic, payload) => onValue(topic, payload.toString()))
  client.on('close', () => onState('connection lost'))
  return client
}

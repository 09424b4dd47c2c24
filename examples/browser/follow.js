// Follows the newest value of each topic that a filter matches, with MQTT.js. With `$latest/`, a
// page that cannot keep up (a slow link, a busy tab) skips values and stays current.
//
// Messages arrive under their topic without the prefix. That does not matter to MQTT.js, which
// passes every message to the same listener.
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

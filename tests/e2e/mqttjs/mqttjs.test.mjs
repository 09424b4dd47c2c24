// MQTT.js over WebSocket, in both versions: what a web page or a Node program does with the server.
// SERVER_WS_URL names the server, for example ws://127.0.0.1:8083/mqtt.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import mqtt from 'mqtt'

const url = process.env.SERVER_WS_URL
const open = new Set()
let count = 0

// A connected client whose received messages are kept in a queue.
async function connect(version, options = {}) {
  const client = mqtt.connect(url, {
    protocolVersion: version, reconnectPeriod: 0, clientId: `js${process.pid}-${++count}`, ...options
  })
  open.add(client)
  const waiting = []
  const held = []
  client.on('message', (topic, payload, packet) => {
    const message = { topic, payload: payload.toString(), packet }
    if (waiting.length) waiting.shift()(message)
    else held.push(message)
  })
  client.nextMessage = () =>
    held.length ? Promise.resolve(held.shift()) : new Promise((resolve) => waiting.push(resolve))
  ;[client.connack] = await once(client, 'connect')
  return client
}

async function leave(client) {
  open.delete(client)
  await client.endAsync()
}

after(async () => {
  for (const client of open) await client.endAsync(true)
})

const keep = (version, clientId) =>
  version === 5
    ? { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
    : { clientId, clean: false }

for (const version of [4, 5]) {
  const name = (text) => `version ${version}: ${text}`
  const topic = (tail) => `js/${process.pid}/${version}/${tail}`

  test(name('every QoS arrives'), async () => {
    const client = await connect(version)
    for (const qos of [0, 1, 2]) {
      const [granted] = await client.subscribeAsync(topic(`qos${qos}`), { qos })
      assert.equal(granted.qos, qos)
      await client.publishAsync(topic(`qos${qos}`), `hello ${qos}`, { qos })
      const got = await client.nextMessage()
      assert.deepEqual([got.topic, got.payload, got.packet.qos], [topic(`qos${qos}`), `hello ${qos}`, qos])
    }
    await leave(client)
  })

  test(name('a large message arrives whole'), async () => {
    const client = await connect(version)
    await client.subscribeAsync(topic('large'), { qos: 1 })
    await client.publishAsync(topic('large'), 'x'.repeat(1000000), { qos: 1 })
    assert.equal((await client.nextMessage()).payload.length, 1000000)
    await leave(client)
  })

  test(name('a retained message comes to a later subscriber'), async () => {
    const client = await connect(version)
    await client.publishAsync(topic('kept'), 'kept', { qos: 1, retain: true })
    await client.subscribeAsync(topic('kept'), { qos: 1 })
    const got = await client.nextMessage()
    assert.deepEqual([got.payload, got.packet.retain], ['kept', true])
    await leave(client)
  })

  test(name('a will comes when the stream is torn'), async () => {
    const watcher = await connect(version)
    await watcher.subscribeAsync(topic('will'), { qos: 1 })
    const will = { topic: topic('will'), payload: Buffer.from('gone'), qos: 1, retain: false }
    if (version === 5) will.properties = { willDelayInterval: 1 }
    const mortal = await connect(version, { ...keep(version, topic('mortal')), will })
    open.delete(mortal)
    mortal.on('error', () => {})
    mortal.stream.destroy()
    assert.equal((await watcher.nextMessage()).payload, 'gone')
    await leave(watcher)
  })

  test(name('a session is resumed with what was queued'), async () => {
    const options = keep(version, topic('sleeper'))
    const sleeper = await connect(version, options)
    await sleeper.subscribeAsync(topic('queued'), { qos: 2 })
    await leave(sleeper)
    const sender = await connect(version)
    for (let n = 0; n < 5; n++) await sender.publishAsync(topic('queued'), `${n}`, { qos: 2 })
    const again = await connect(version, options)
    assert.equal(again.connack.sessionPresent, true)
    for (let n = 0; n < 5; n++) assert.equal((await again.nextMessage()).payload, `${n}`)
    await leave(again)
    await leave(sender)
  })

  test(name('a $latest subscription is seeded with the newest value'), async () => {
    const client = await connect(version)
    for (let n = 0; n < 3; n++) await client.publishAsync(topic('now'), `${n}`, { qos: 1 })
    await client.subscribeAsync(`$latest/${topic('now')}`, { qos: 1 })
    const got = await client.nextMessage()
    assert.deepEqual([got.topic, got.payload], [topic('now'), '2'])
    await leave(client)
  })
}

const topic = (tail) => `js/${process.pid}/new/${tail}`

test('a shared subscription gives each message to one member', async () => {
  const members = [await connect(5), await connect(5)]
  for (const member of members) {
    await member.subscribeAsync(`$share/group/${topic('jobs')}`, { qos: 1 })
    await member.subscribeAsync(topic('end'), { qos: 1 })
  }
  const sender = await connect(5)
  for (let n = 0; n < 20; n++) await sender.publishAsync(topic('jobs'), `${n}`, { qos: 1 })
  await sender.publishAsync(topic('end'), '', { qos: 1 })
  const seen = []
  for (const member of members) {
    for (let got = await member.nextMessage(); got.topic !== topic('end'); got = await member.nextMessage()) {
      seen.push(Number(got.payload))
    }
    await leave(member)
  }
  assert.deepEqual(seen.sort((a, b) => a - b), [...Array(20).keys()])
  await leave(sender)
})

test('a request gets its response', async () => {
  const asks = await connect(5)
  const answers = await connect(5)
  await answers.subscribeAsync(topic('ask'), { qos: 1 })
  await asks.subscribeAsync(topic('answer'), { qos: 1 })
  const correlationData = Buffer.from([0, 255, 7])
  await asks.publishAsync(topic('ask'), '2+2', {
    qos: 1, properties: { responseTopic: topic('answer'), correlationData }
  })
  const { properties } = (await answers.nextMessage()).packet
  await answers.publishAsync(properties.responseTopic, '4', {
    qos: 1, properties: { correlationData: properties.correlationData }
  })
  const got = await asks.nextMessage()
  assert.equal(got.payload, '4')
  assert.deepEqual(Buffer.from(got.packet.properties.correlationData), correlationData)
  await leave(asks)
  await leave(answers)
})

test('user properties and the content type travel', async () => {
  const client = await connect(5)
  await client.subscribeAsync(topic('properties'), { qos: 1 })
  await client.publishAsync(topic('properties'), 'x', {
    qos: 1, properties: { contentType: 'text/plain', userProperties: { b: ['1', '3'], a: '2' } }
  })
  const { properties } = (await client.nextMessage()).packet
  assert.equal(properties.contentType, 'text/plain')
  assert.deepEqual({ ...properties.userProperties }, { b: ['1', '3'], a: '2' })
  await leave(client)
})

test('topic aliases are used both ways', async () => {
  const reader = await connect(5, { properties: { topicAliasMaximum: 4 } })
  const sender = await connect(5, { autoAssignTopicAlias: true })
  await reader.subscribeAsync(topic('alias/#'), { qos: 1 })
  for (let n = 0; n < 9; n++) {
    await sender.publishAsync(topic(`alias/${n % 3}`), `${n}`, { qos: 1 })
    const got = await reader.nextMessage()
    assert.deepEqual([got.topic, got.payload], [topic(`alias/${n % 3}`), `${n}`])
  }
  await leave(reader)
  await leave(sender)
})

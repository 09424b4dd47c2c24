// A page of another origin in the browser of an administrator who is signed in: it tries to change the
// server by requests that a browser sends without asking first, each with the administrator's password.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import mqtt from 'mqtt'
import { launch, skip } from './browser.mjs'
import { Server, boss } from './server.mjs'

// These two are called in the page of the other origin. The first returns when all is answered.
async function attack(api) {
  const send = (method, path, body, mode = 'no-cors') =>
    fetch(api + path, { method, mode, body, credentials: 'include' }).catch(() => {})
  await send('POST', '/topics/kept', 'attacked')   // as text/plain
  await send('POST', '/topics/fetched?retain=true', new URLSearchParams({ a: 'b' }))
  await send('POST', '/trace?client=victim')
  await send('POST', '/reload')
  // The browser asks first whether it may send these.
  await send('PUT', '/topics/kept', 'attacked', 'cors')
  await send('DELETE', '/topics/kept', undefined, 'cors')
  await send('DELETE', '/clients/victim?session=end', undefined, 'cors')
}
function submit([action, enctype]) {
  const form = document.createElement('form')
  Object.assign(form, { action, method: 'post', enctype })
  const field = document.createElement('input')
  Object.assign(field, { name: 'a', value: 'b' })
  form.append(field)
  document.body.append(form)
  form.submit()
}
const forms = [['/topics/submitted?retain=true', 'text/plain'], ['/reload', 'multipart/form-data'],
  ['/drain', 'application/x-www-form-urlencoded']]

// Stands between the browser and the server and keeps what the browser sends: it does not tell its
// pages, nor their tests, where it adds a password.
class Relay {
  static async start(port) {
    const relay = new Relay()
    relay.sockets = []
    relay.sent = []   // of each connection
    relay.tcp = createTcpServer(client => {
      const at = relay.sent.push('') - 1
      const upstream = connect(port, '127.0.0.1')
      client.on('data', bytes => { relay.sent[at] += bytes.toString('latin1') })
      for (const [one, other] of [[client, upstream], [upstream, client]]) {
        one.on('error', () => {})
        one.on('close', () => other.destroy())
        one.pipe(other)
        relay.sockets.push(one)
      }
    })
    await once(relay.tcp.listen(0, '127.0.0.1'), 'listening')
    return relay
  }
  get port() { return this.tcp.address().port }
  heads(method) {
    const head = new RegExp(`${method} /.*?\\r\\n\\r\\n`, 'gs')
    return this.sent.flatMap(text => text.match(head) ?? [])
  }
  stop() {
    this.tcp.close()
    for (const socket of this.sockets) socket.destroy()
  }
}

describe('a page of another origin', { skip }, () => {
  let browser, context, relay, server, victim, web

  before(async () => {
    browser = await launch()
    web = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html><body>'))
    await once(web.listen(0, '127.0.0.1'), 'listening')
  })
  after(async () => {
    await browser.close()
    web.closeAllConnections()
    web.close()
  })
  beforeEach(async () => {
    server = await Server.start(0, folder => ({
      access: { password_file: join(folder, 'passwords'), administrators: ['boss'] } }))
    relay = await Relay.start(server.httpPort)
    context = await browser.newContext()
    context.setDefaultTimeout(60_000)
  })
  afterEach(async () => {
    victim?.end(true)
    victim = undefined
    await context.close()
    relay.stop()
    await server.stop()
  })

  const ask = async path => (await fetch(server.url + '/api/v1' + path, { headers: { Authorization: boss } })).json()

  // The other origin may be that of another port of this host; the browser adds the password to whatever
  // such a page sends. To what a page of another host sends it adds it at least where that leaves the page.
  for (const [host, passwords] of [['127.0.0.1', 7], ['stranger.localhost', forms.length]]) {
    test(`changes nothing from ${host}`, async () => {
      victim = await mqtt.connectAsync(`mqtt://127.0.0.1:${server.mqttPort}`,
        { clientId: 'victim', username: 'user', password: 'u', reconnectPeriod: 0 })
      let ended = false
      victim.once('close', () => { ended = true })
      await server.publish('kept', '1')
      // What a reload would bring into force.
      const config = JSON.parse(readFileSync(server.config))
      writeFileSync(server.config, JSON.stringify({ ...config, log: { level: 'debug' } }))

      // The administrator signs in, and from then on the browser adds the password by itself.
      const api = `http://127.0.0.1:${relay.port}/api/v1`
      const page = await context.newPage()
      const signedIn = await page.goto(api.replace('://', '://boss:b@') + '/server')
      assert.equal(signedIn.status(), 200)
      const post = url => fetch(url, { method: 'POST', body: 'x' }).then(answer => answer.status)
      assert.equal(await page.evaluate(post, api + '/topics/own?retain=true'), 204, 'a page of the same origin may')

      const other = `http://${host}:${web.address().port}/`
      const statuses = []
      context.on('response', answer => { if (answer.request().method() === 'POST') statuses.push(answer.status()) })
      relay.sent.fill('')
      await page.goto(other)
      await page.evaluate(attack, api)
      for (const [path, enctype] of forms) {
        const another = await context.newPage()
        await another.goto(other)
        const answered = another.waitForResponse(api + path)
        await another.evaluate(submit, [api + path, enctype])
        await answered
      }

      // What was sent without asking came, with the password, and was refused; of the rest, only the
      // question came.
      const posts = relay.heads('POST')
      assert.equal(posts.length, 7)
      const signed = posts.filter(head => head.includes(`Authorization: ${boss}\r\n`))
      assert.ok(signed.length >= passwords, posts.join(''))
      assert.deepEqual(statuses, Array(7).fill(403))
      assert.deepEqual(['OPTIONS', 'PUT', 'DELETE'].map(method => relay.heads(method).length), [3, 0, 0])

      assert.equal(server.process.exitCode, null)
      const { topics } = await ask('/topics')
      assert.deepEqual(topics.map(({ topic, payload }) => [topic, payload]).sort(), [['kept', '1'], ['own', 'x']])
      assert.equal((await ask('/config'))['log.level'], 'info', 'nothing was reloaded')
      assert.equal((await ask('/clients/victim')).state, 'connected')
      assert.equal(ended, false)
      assert.deepEqual((await ask('/trace')).traces, [])
    })
  }
})

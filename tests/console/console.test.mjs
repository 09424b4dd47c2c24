// The page as a person uses it, in the Chromium that is installed, against the real server.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, beforeEach, afterEach, describe, test } from 'node:test'
import mqtt from 'mqtt'
import { launch, skip } from './browser.mjs'
import { Server, freePort, token } from './server.mjs'

const require = createRequire(import.meta.url)

describe('the page', { skip }, () => {
  let browser, server, page, faults, requests

  before(async () => { browser = await launch() })
  after(() => browser.close())

  // `ownClock`: its timers run with page.clock, which a test may put forward.
  const open = async (view = '', { ownClock, ...options } = {}) => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options })
    page = await context.newPage()
    if (ownClock) await page.clock.install()
    page.setDefaultTimeout(60_000)
    faults = []
    requests = []
    page.on('pageerror', error => faults.push(String(error)))
    page.on('console', message => {
      if (message.type() === 'error' && !/Failed to load resource|ERR_/.test(message.text())) faults.push(message.text())
    })
    page.on('request', request => requests.push(request.url()))
    await page.goto(server.url + '/' + view)
  }

  // A client that is ended with the test, however that ends: it would keep this process going.
  const clients = []
  const connected = async (...options) => {
    clients.push(await mqtt.connectAsync(...options))
    return clients.at(-1)
  }

  // A client that subscribes to all and never reads. Its name has four letters.
  const neverReading = async name => {
    const socket = connect(server.mqttPort, '127.0.0.1')
    clients.push({ end: () => socket.destroy() })
    await once(socket, 'connect')
    socket.pause()
    socket.write(Buffer.from(`\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04${name}` + '\x82\x0e\0\x01\0\x09$latest/#\0', 'latin1'))
  }
  const publishUntil = async (client, isSlow) => {
    const payload = 'x'.repeat(100_000)
    for (let round = 0; !await isSlow(); ++round) {
      assert.ok(round < 5000, 'it is never slow')
      await client.publishAsync(`much/${round % 50}`, payload, { qos: 1 })
    }
  }

  // A reader in shared memory, of a server whose local.socket is local.sock in its folder.
  const tap = (filter, t) => {
    const reader = spawn(process.env.SERVER_BINARY, ['tap', filter, '--socket', join(server.folder, 'local.sock')],
      { stdio: ['ignore', 'ignore', 'inherit'] })
    t.after(() => reader.kill('SIGKILL'))
    return reader
  }

  const close = async () => {
    await page.context().close()
    page = undefined
    assert.deepEqual(faults, [])
    assert.deepEqual(requests.filter(one => !one.startsWith(server.url + '/')), [], 'no request leaves the server')
  }

  beforeEach(async () => { server = await Server.start() })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.end(true)
    try {
      if (page) await close()
    } finally {
      await server.stop()
    }
  })

  const row = name => page.locator('.row:not([hidden])', { has: page.locator('.name', { hasText: name }) })
  const shows = (name, text) => row(name).locator('.value', { hasText: text }).waitFor()

  // As page.waitForFunction, which the page's Content-Security-Policy does not let work.
  const until = async (predicate, argument) => {
    for (const end = Date.now() + 60_000; !await page.evaluate(predicate, argument);) {
      assert.ok(Date.now() < end, `never true: ${predicate}, ${argument}`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  // What the view of one topic or client says of it.
  const fact = (name, text) => page.locator(`.facts dt:text-is("${name}") + dd`).filter({ hasText: text })

  const signIn = async (user, password) => {
    const dialog = page.locator('#sign-in-dialog')
    await dialog.locator('[name=user]').fill(user)
    await dialog.locator('[name=password]').fill(password)
    await dialog.locator('button[value=ok]').click()
    // Before that, what is clicked is still asked for by whoever it was.
    await page.locator('#sign-in', { hasText: user || 'Token' }).waitFor()
  }

  test('shows the newest values and then what changes, in place', async () => {
    await server.publish('home/kitchen/temp', '21.5')
    await open()
    await row('kitchen').click()   // home is open, as it is alone
    await shows('temp', '21.5')
    await server.publish('home/kitchen/temp', '22.0')
    await shows('temp', '22.0')
    await row('temp').click()
    await page.locator('.payload pre', { hasText: '22.0' }).waitFor()
    for (const [name, text] of [['Size', /^4 B$/], ['QoS', /^0$/], ['Retained', /^yes$/], ['Updates seen', /^2$/], ['Age', /^\d+(\.\d)? m?s$/]]) {
      await fact(name, text).waitFor()
    }
    await row('temp').locator('.age', { hasText: /^\d+(\.\d)? m?s$/ }).waitFor()
    const rate = row('temp').locator('.rate', { hasText: /^\d+\.\d\/s$/ })   // it fades when nothing comes
    for (const end = Date.now() + 60_000; await rate.count() === 0;) {
      assert.ok(Date.now() < end, 'no rate is shown')
      await server.publish('home/kitchen/temp', '22.0')
    }
    await server.publish('home/kitchen/temp', '23', false)
    await fact('Retained', /^no$/).waitFor()
    await server.publish('home/kitchen/temp', '')   // cleared
    await until(() => ![...document.querySelectorAll('.row:not([hidden]) .name')].some(n => n.textContent.includes('temp')))
  })

  test('shows JSON folded, bytes as hex, and numbers as a line', async () => {
    await server.publish('a/json', '{"x":{"y":[1,2,3]}}')
    await server.publish('a/bin', new Uint8Array([0xff, 0, 1]))
    await open()
    await row('json').click()
    await page.locator('.payload summary', { hasText: 'x' }).waitFor()
    const showAs = name => page.locator('.forms button', { hasText: name })
    await showAs('text').click()
    await page.locator('.payload pre', { hasText: '{"x":{"y":[1,2,3]}}' }).waitFor()
    await showAs('hex').click()
    await page.locator('.payload pre', { hasText: '000000  7b 22 78' }).waitFor()
    await showAs('json').click()
    await page.locator('.payload summary', { hasText: 'x' }).waitFor()
    await row('bin').click()
    await page.locator('.payload pre', { hasText: '000000  ff 00 01' }).waitFor()
    assert.ok(await showAs('json').isDisabled())
    await server.publish('a/number', '1')
    await row('number').click()
    await server.publish('a/number', '2')
    await page.locator('.chart canvas').waitFor()
  })

  test('shows a payload whole that the stream cuts', async () => {
    await server.publish('big', 'x'.repeat(40_000) + 'END')
    await open()
    await row('big').click()
    await page.locator('.payload pre', { hasText: 'END' }).waitFor()
  })

  test('publishes after signing in', async () => {
    await open()
    await page.locator('.publish input').first().fill('from/page')
    await page.locator('.publish textarea').fill('hello')
    await page.locator('.publish button').click()
    await signIn('user', 'u')
    await row('from').waitFor()
    assert.equal(await page.locator('#sign-in').textContent(), 'user')
    await page.reload()   // kept in memory alone
    assert.equal(await page.locator('#sign-in').textContent(), 'Sign in')
  })

  test('publishes with the QoS that was chosen, to be retained', async () => {
    await open()
    await page.locator('#sign-in').click()
    await signIn('user', 'u')
    await page.locator('.publish input').first().fill('kept')
    await page.locator('.publish textarea').fill('here')
    await page.locator('.publish [type=checkbox]').check()
    await page.locator('.publish select').selectOption('1')
    await page.locator('.publish button').click()
    await row('kept').click()
    await fact('Retained', /^yes$/).waitFor()
    await fact('QoS', /^1$/).waitFor()
  })

  test('says why nothing was published after signing in, and keeps what was typed', async () => {
    await open()
    const topic = page.locator('.publish input').first()
    const payload = page.locator('.publish textarea')
    const said = text => page.locator('.publish [role=status]', { hasText: text }).waitFor()
    await topic.fill('$SYS/mine')
    await payload.fill('hello')
    await page.locator('.publish button').click()
    await signIn('user', 'wrong')
    await said('a password')
    await page.locator('.publish button').click()   // asks again
    await signIn('user', 'u')
    await said('not allowed to publish to $SYS/mine')
    assert.deepEqual([await topic.inputValue(), await payload.inputValue()], ['$SYS/mine', 'hello'])
    await topic.fill('from/page')
    await page.locator('.publish button').click()
    await said('Published.')
    await row('from').waitFor()
  })

  test('publishes to the topic that was named, whatever its levels are', async () => {
    await open()
    await page.locator('.publish input').first().fill('dots/x/../y%2f/.')
    await page.locator('.publish textarea').fill('here')
    await page.locator('.publish button').click()
    await signIn('user', 'u')
    await row('dots').waitFor()
    await page.locator('[type=search]').fill('dots')
    await shows('dots/x/../y%2f/.', 'here')
  })

  test('copies a line for a shell in which a topic is one word, whatever is in it', async () => {
    const topic = "it's \u0015\u001b[201~\\ \u0085"
    await server.publish(topic, 'x')
    await open()
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: { writeText: async line => { window.copied = line } } }))
    await row("it's").click()
    await page.locator('button', { hasText: 'mosquitto_sub' }).click()
    await page.locator('button', { hasText: 'Copied' }).waitFor()
    const line = await page.evaluate(() => window.copied)
    assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f]/)
    const words = execFileSync('bash', ['-c', line.replace('mosquitto_sub', "printf '%s\\0'")]).toString().split('\0')
    assert.deepEqual(words.slice(0, 7), ['-h', '127.0.0.1', '-p', String(server.mqttPort), '-t', topic, '-v'])
  })

  test('copies a line that reads the topic', async () => {
    await server.publish("it's/a $topic", 'the value')
    await open()
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: { writeText: async line => { window.copied = line } } }))
    await row('$topic').click()
    await page.locator('button', { hasText: 'mosquitto_sub' }).click()
    await page.locator('button', { hasText: 'Copied' }).waitFor()
    const line = await page.evaluate(() => window.copied)
    assert.equal(execFileSync('bash', ['-c', line + ' -C 1 -W 60']).toString(), "it's/a $topic the value\n")
  })

  test('says why there is no line for mosquitto_sub', async () => {
    await server.stop()
    server = await Server.start(0, { listeners: [{ transport: 'ws', port: 0 }] })
    await server.publish('a', '1')
    await open()
    await row('a').click()
    const copy = page.locator('button', { hasText: 'mosquitto_sub' })
    await copy.click()
    await page.locator('.detail .hint', { hasText: 'no listener for plain TCP' }).waitFor()
    assert.ok(await copy.isDisabled())
  })

  test('takes names and payloads as text, whatever they are', async () => {
    const names = ['<script>window.hurt=1</script>', '<img src=x onerror=window.hurt=1>', 'bidi\u202egnp.exe', 'tab\u0001control', '__proto__', 'constructor']
    for (const name of names) await server.publish(name, `<b>${name}</b>`)
    await open()
    for (const name of ['<script>', '<img', '\\u202e', '\\u0001', '__proto__', 'constructor']) await row(name).waitFor()
    await row('<img').click()
    await page.locator('.payload pre', { hasText: '<b><img' }).waitFor()
    assert.equal(await page.evaluate(() => window.hurt), undefined)
  })

  test('stays quick with many topics', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`)
    const count = 100_000
    for (let i = 0; i < count; ++i) client.publish(`many/t${i}`, String(i))
    await client.publishAsync('many/last', 'x', { qos: 1 })
    await open()
    // 12 MB of events take the page seconds of a processor, which it may have to share with much else.
    await page.locator('.count', { hasText: '100 k topics' }).waitFor({ timeout: 240_000 })
    // How many rows one frame paints at most, and how many rows are made.
    await page.evaluate(() => {
      window.paintedMost = 0
      let painted = 0
      const set = Element.prototype.setAttribute
      Element.prototype.setAttribute = function (name, value) {
        if (name === 'aria-posinset') ++painted   // each row has its place in the tree
        set.call(this, name, value)
      }
      const frame = () => {
        window.paintedMost = Math.max(window.paintedMost, painted)
        painted = 0
        requestAnimationFrame(frame)
      }
      frame()
    })
    const tree = page.locator('.tree')
    const fitting = await tree.evaluate(box => Math.ceil(box.clientHeight / 28) + 1)
    const paints = async what => {
      // until the frame is over
      await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))))
      const [most, made] = await page.evaluate(() => [window.paintedMost, document.querySelectorAll('.row').length])
      assert.ok(most > 0 && most <= fitting && made <= fitting, `${what}: ${most} of ${made} rows painted at once, where ${fitting} fit`)
    }
    await tree.focus()
    for (const [key, shown] of [['End', 't99999'], ['Home', 'many'], ['PageDown', 't100'], ['ArrowDown', 't100']]) {
      await page.keyboard.press(key)
      await row(shown).first().waitFor()
      await paints(key)
    }
    await tree.evaluate(box => { box.scrollTop = box.scrollHeight / 2 })
    await row('t5499').first().waitFor()
    await paints('scrolling')
    await page.locator('[type=search]').fill('t1234')
    await shows('many/t12345', '12345')
    await paints('searching')
    await client.publishAsync('many/t12345', 'changed', { qos: 1 })
    await shows('many/t12345', 'changed')
    await paints('a value')
    await client.endAsync()
  })

  test('shows values on a slow network that are not a second old', async t => {
    await open()
    const network = await page.context().newCDPSession(page)
    await network.send('Network.enable')
    await network.send('Network.emulateNetworkConditions',
      { offline: false, latency: 200, downloadThroughput: 100 * 1024, uploadThroughput: 100 * 1024 })
    await page.reload()
    await page.locator('#status.ok').waitFor()
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`)
    const rest = ' '.repeat(500)
    // As events, some thirteen times what this network takes; one value of each topic takes it a quarter of a second.
    const greatestAge = async () => {
      let age = 0
      let counted = 0
      for (let round = 0; round < 200; ++round) {
        for (let i = 0; i < 40; ++i) client.publish(`slow/${i}`, Date.now() + rest)
        await new Promise(resolve => setTimeout(resolve, 20))
        if (round % 20 !== 19) continue
        const [now, shown] = await page.evaluate(() => [Date.now(),
          [...document.querySelectorAll('.row:not([hidden]) .value')].map(node => node.textContent)])
        const ages = shown.filter(text => text.trim()).map(text => now - Number.parseInt(text))
        counted += ages.length
        age = Math.max(age, ...ages)
      }
      assert.ok(counted > 0)
      return age
    }
    await greatestAge()   // until all that there is to learn about the link is learnt
    // Other load may delay some rounds; a queue on the way would delay every one.
    const ages = []
    const good = () => ages.filter(age => age < 1000).length
    while (good() < 3 && ages.length < 15) ages.push(await greatestAge())
    t.diagnostic(`the greatest age of what was shown: ${ages.join(', ')} ms`)
    assert.equal(good(), 3, `the greatest age of what was shown: ${ages} ms`)
    await client.publishAsync('slow/0', 'the last', { qos: 1 })
    await shows('0', 'the last')
    await client.endAsync()
  })

  test('keeps up with ten thousand updates a second', async t => {
    await open()
    const metrics = await page.context().newCDPSession(page)
    // The time that the main thread has worked, not that for which it waited for a processor.
    await metrics.send('Performance.enable', { timeDomain: 'threadTicks' })
    const worked = async () => (await metrics.send('Performance.getMetrics')).metrics.find(one => one.name === 'TaskDuration').value
    const arrived = async () => Number(/^millrace_http_events_total (\d+)$/m.exec(await (await fetch(server.url + '/metrics')).text())[1])
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`)
    // Ten times a second a value of each of a thousand topics, which is what the page asks for.
    const [rounds, topics, slices] = [30, 1000, 10]
    let value = 0
    const measure = async () => {
      const [begun, before, workedBefore] = [performance.now(), await arrived(), await worked()]
      for (let slice = 0; slice < rounds * slices; ++slice) {
        for (let i = slice % slices; i < topics; i += slices) client.publish(`fast/${i}`, String(value))
        ++value
        await new Promise(resolve => setTimeout(resolve, Math.max(0, begun + (slice + 1) * 10 - performance.now())))
      }
      await client.publishAsync('fast/0', `end ${value}`, { qos: 1 })
      await shows('0', `end ${value}`)
      const count = await arrived() - before
      const share = (await worked() - workedBefore) / count * 10_000
      t.diagnostic(`${count} of ${rounds * topics} updates; at ten thousand a second the main thread works ${Math.round(share * 100)} % of the time`)
      // A round in which most were conflated is not measured.
      return count > rounds * topics * 0.3 ? [share] : []
    }
    await page.locator('.tree').waitFor()
    const shares = []
    for (let times = 0; shares.length < 3; ++times) {
      assert.ok(times < 15, 'most updates never arrive')
      shares.push(...await measure())
    }
    assert.ok(Math.min(...shares) < 0.3, `at ten thousand a second the main thread works ${shares} of the time`)
    await client.endAsync()
  })

  test('shows the beginning of a payload of a megabyte, and none of it as anything but text', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`)
    const payload = '<script>window.hurt = 1</script>\u202e\u0007\n'.repeat(30_000)
    await client.publishAsync('huge', payload, { qos: 1, retain: true })
    await open()
    await row('huge').click()
    await page.locator('.payload p', { hasText: `The first 262144 of ${Buffer.byteLength(payload)} bytes.` }).waitFor()
    await page.locator('.payload pre', { hasText: '<script>window.hurt = 1</script>\\u202e\\u0007' }).waitFor()
    assert.equal(await page.evaluate(() => window.hurt), undefined)
    await client.endAsync()
  })

  test('has a value again after it was cleared', async () => {
    await server.publish('a/b', '1')
    await server.publish('a', 'here')
    await open()
    await row('a').click()
    await page.locator('.payload pre', { hasText: 'here' }).waitFor()
    await server.publish('a', '')
    await page.locator('.facts dd', { hasText: 'none now' }).waitFor()
    await server.publish('a', 'again')
    await page.locator('.payload pre', { hasText: 'again' }).waitFor()
    assert.equal(await page.locator('.facts dt').first().textContent(), 'Age')
  })

  test('filters by a topic filter', async () => {
    await server.publish('a/x', '1')
    await server.publish('b/x', '2')
    await open()
    await row('b').waitFor()
    await page.locator('[aria-label="Topic filter"]').fill('a/#')
    await page.keyboard.press('Enter')
    await shows('x', '1')
    assert.equal(await row(/^. b/).count(), 0)
  })

  // The connection stays open, and nothing says that its other end is gone.
  test('says so when the server falls silent, and comes back', async () => {
    await server.publish('t', 'before')
    await open('', { ownClock: true })
    await shows('t', 'before')
    const silent = page.locator('#status.bad', { hasText: 'does not answer' })
    server.process.kill('SIGSTOP')
    await page.clock.fastForward(20_000)   // more than one heartbeat, fewer than three
    assert.equal(await silent.count(), 0)
    await page.clock.fastForward(30_000)
    await silent.waitFor()
    server.process.kill('SIGCONT')
    await page.locator('#status.ok').waitFor()
    await server.publish('t', 'after')
    await shows('t', 'after')
    await page.locator('#sign-in').click()
    await signIn('boss', 'b')
    for (const view of ['clients', 'flow', 'trace']) {
      await page.evaluate(name => { location.hash = name }, view)
      await page.locator(`main.${view}`).waitFor()
      await page.locator('#status.ok').waitFor()
      server.process.kill('SIGSTOP')
      for (let questions = 0; await silent.count() === 0; ++questions) {
        assert.ok(questions < 20, `${view} never says it`)
        await page.clock.fastForward(11_000)   // one more is asked, or the one that hangs is given up
        await page.evaluate(() => 0)
      }
      server.process.kill('SIGCONT')
      await page.locator('#status.ok').waitFor()
    }
  })

  test('comes back when the server does', async () => {
    await server.stop()
    server = await Server.start(await freePort())
    await server.publish('t', 'before')
    await open()
    await shows('t', 'before')
    await server.kill()
    await page.locator('#status.bad').waitFor()
    await server.run()
    await server.publish('t', 'after')
    await page.locator('#status.ok').waitFor()
    await shows('t', 'after')
  })

  test('lists clients and disconnects one', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp <1>', reconnectPeriod: 0 })
    await client.subscribeAsync('a/#')
    const closed = new Promise(resolve => client.once('close', resolve))
    await open('#clients')
    const line = page.locator('tr', { hasText: 'lamp <1>' })
    await line.waitFor()
    await line.getByRole('button', { name: 'lamp' }).click()
    await page.locator('.detail td', { hasText: 'a/#' }).waitFor()
    await line.getByRole('button', { name: 'Disconnect' }).click()
    await page.locator('#confirm-dialog button[value=ok]').click()
    await signIn('boss', 'b')
    await closed
    await line.waitFor({ state: 'detached' })
  })

  test('disconnects nobody when one thinks again', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp' })
    await open('#clients')
    const changes = []
    page.on('request', request => { if (request.method() !== 'GET') changes.push(request.url()) })
    const line = page.locator('tr', { hasText: 'lamp' })
    for (const leave of [dialog => dialog.locator('button[value=cancel]').click(), () => page.keyboard.press('Escape')]) {
      await line.getByRole('button', { name: 'Disconnect' }).click()
      await page.locator('#confirm-title', { hasText: 'Disconnect lamp?' }).waitFor()
      await leave(page.locator('#confirm-dialog'))
      await page.locator('#confirm-dialog:not([open])').waitFor({ state: 'attached' })
      await page.waitForResponse(response => response.url().includes('/api/v1/clients?') && response.ok())
    }
    assert.deepEqual(changes, [])
    assert.ok(client.connected)
    await line.waitFor()
    await client.endAsync()
  })

  test('lists clients in the order that was chosen', async () => {
    const url = `mqtt://127.0.0.1:${server.mqttPort}`
    const reader = await connected(url, { clientId: 'a-reader' })
    await reader.subscribeAsync('x')
    const writer = await connected(url, { clientId: 'b-writer' })
    const away = await connected(url, { clientId: 'c-away', clean: false })
    await away.subscribeAsync('x', { qos: 1 })
    await away.endAsync()
    const got = new Promise(resolve => {
      let left = 20
      reader.on('message', () => { if (--left === 0) resolve() })
    })
    for (let i = 0; i < 20; ++i) await writer.publishAsync('x', 'x'.repeat(1000), { qos: 1 })
    await got
    await open('#clients')
    const first = page.locator('tbody tr:first-child')
    const menu = page.locator('[aria-label="Order"]')
    for (const [order, name] of [['id', 'a-reader'], ['received', 'b-writer'], ['sent', 'a-reader'], ['waiting', 'c-away'],
      ['id', 'a-reader'], ['waiting_bytes', 'c-away']]) {
      await menu.selectOption(order)
      await first.filter({ hasText: name }).waitFor()
    }
    // Each order that there is to choose is one that the server knows.
    for (const order of await menu.locator('option').evaluateAll(options => options.map(option => option.value))) {
      const answer = page.waitForResponse(response => response.url().includes(`sort=${order}&`))
      await menu.selectOption('id')
      await menu.selectOption(order)
      assert.equal((await answer).status(), 200)
    }
    await reader.endAsync()
    await writer.endAsync()
  })

  test('turns the pages of a long list of clients', async () => {
    for (let i = 0; i < 103; ++i) {
      const socket = connect(server.mqttPort, '127.0.0.1')
      clients.push({ end: () => socket.destroy() })
      socket.write(Buffer.from('\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04c' + String(i).padStart(3, '0'), 'latin1'))
      await once(socket, 'data')
    }
    await open('#clients')
    const names = () => page.locator('tbody button.link').allTextContents()
    const begins = name => page.locator('tbody tr:first-child', { hasText: name }).waitFor()
    await page.locator('[aria-label="Order"]').selectOption('id')
    await begins('c000')
    assert.equal((await names()).length, 100)
    await page.getByRole('button', { name: 'Next page' }).click()
    await begins('c100')
    assert.deepEqual(await names(), ['c100', 'c101', 'c102'])
    await page.getByRole('button', { name: 'First page' }).click()
    await begins('c000')
    await page.getByRole('button', { name: 'Next page' }).waitFor()
  })

  test('shows the slowest client first, and in red', async () => {
    await neverReading('slug')
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'quick' })
    await open('#clients')
    await page.locator('tr', { hasText: 'slug' }).waitFor()
    const line = page.locator('tbody tr.alert', { hasText: 'slug' })
    await publishUntil(client, async () => await line.count() > 0)
    await page.locator('tbody tr:first-child.alert', { hasText: 'slug' }).waitFor()
    assert.equal(await line.locator('td').nth(3).textContent(), 'slow')
    assert.match(await line.locator('td').nth(4).textContent(), /^[\d.]+ (ms|s|min)$/)
    await page.locator('[aria-label="State"]').selectOption('slow')
    await page.locator('tbody tr', { hasText: 'quick' }).waitFor({ state: 'detached' })
    assert.equal(await line.count(), 1)
    await client.endAsync()
  })

  test('says to one who is no administrator why a client was not disconnected', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp' })
    await open('#clients')
    const line = page.locator('tr', { hasText: 'lamp' })
    await line.getByRole('button', { name: 'Disconnect' }).click()
    await page.locator('#confirm-dialog button[value=ok]').click()
    await signIn('user', 'u')
    const said = page.locator('main.clients p[role=status]', { hasText: 'none of the administrators' })
    await said.waitFor()
    await page.waitForResponse(response => response.url().includes('/api/v1/clients?') && response.ok())
    await line.waitFor()   // listed anew, and it still says so
    assert.ok(await said.isVisible())
    await client.endAsync()
  })

  test('picks clients by their address', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp' })
    await open('#clients')
    const line = page.locator('tr', { hasText: 'lamp' })
    await line.waitFor()
    await page.locator('[aria-label="Address or range"]').fill('10.0.0.0/8')
    await page.keyboard.press('Enter')
    await line.waitFor({ state: 'detached' })
    await page.locator('[aria-label="Address or range"]').fill('127.0.0.0/8')
    await page.keyboard.press('Enter')
    await line.waitFor()
    await client.endAsync()
  })

  test('traces a client that one comes from', async () => {
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp <1>' })
    await open('#clients')
    await page.locator('#sign-in').click()
    await signIn('boss', 'b')
    await page.locator('tr', { hasText: 'lamp <1>' }).getByRole('button', { name: 'lamp' }).click()
    await page.getByRole('link', { name: 'Trace this client' }).click()
    await page.locator('main.trace button.primary').click()
    await page.locator('.traces li', { hasText: 'client lamp <1>' }).waitFor()
    await client.subscribeAsync('a/#')
    await server.publish('a/<b>', 'secret')
    await page.locator('tr.received', { hasText: 'SUBSCRIBE: a/#' }).waitFor()
    await page.locator('tr.sent', { hasText: 'a/<b>' }).waitFor()
    await client.endAsync()
    await page.locator('tr.log', { hasText: 'connection.end' }).waitFor()
    assert.equal(await page.getByText('secret').count(), 0)
    await page.getByRole('button', { name: /^Remove/ }).click()
    await page.locator('.traces li').waitFor({ state: 'detached' })
    assert.equal(await page.locator('main.trace tbody tr').count(), 0)
  })

  test('traces a topic', async () => {
    await open('#trace')
    await page.locator('#sign-in').click()
    await signIn('boss', 'b')
    await page.locator('[aria-label="What to trace"]').selectOption('topic')
    await page.locator('[aria-label="Its name"]').fill('a/b')
    await page.locator('main.trace button.primary').click()
    await page.locator('.traces li', { hasText: 'topic a/b' }).waitFor()
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'writer' })
    await client.publishAsync('a/c', 'other', { qos: 1 })
    await client.publishAsync('a/b', 'this', { qos: 1 })
    await page.locator('main.trace tbody tr', { hasText: 'a/b' }).first().waitFor()
    assert.equal(await page.locator('main.trace tbody tr', { hasText: 'a/c' }).count(), 0)
    await client.endAsync()
  })

  test('traces an address', async () => {
    await open('#trace')
    await page.locator('#sign-in').click()
    await signIn('boss', 'b')
    await page.locator('[aria-label="What to trace"]').selectOption('address')
    const name = page.locator('[aria-label="Its name"]')
    const begin = page.locator('main.trace button.primary')
    await name.fill('nowhere')
    await begin.click()
    await page.locator('main.trace p[role=status]', { hasText: 'not an address' }).waitFor()
    await name.fill('127.0.0.2')
    await begin.click()
    await page.locator('.traces li', { hasText: 'address 127.0.0.2' }).waitFor()
    const other = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'other' })
    const client = new mqtt.MqttClient(() => connect({ port: server.mqttPort, host: '127.0.0.1', localAddress: '127.0.0.2' }), {})
    clients.push(client)
    await once(client, 'connect')
    await other.publishAsync('a/other', '1', { qos: 1 })
    await client.publishAsync('a/lamp', '1', { qos: 1 })
    await page.locator('main.trace tbody tr', { hasText: 'a/lamp' }).first().waitFor()
    assert.deepEqual(new Set(await page.locator('main.trace tbody td:nth-child(4)').allTextContents()), new Set(['127.0.0.2']))
    assert.equal(await page.locator('main.trace tbody tr', { hasText: 'a/other' }).count(), 0)
    await other.endAsync()
    await client.endAsync()
  })

  test('shows traces to administrators alone', async () => {
    await open('#trace')
    await page.locator('#status.bad', { hasText: 'sign in' }).waitFor()
    await page.locator('#sign-in').click()
    await signIn('user', 'u')
    await page.locator('#status.bad', { hasText: 'administrators' }).waitFor()
  })

  test('takes a token in the place of user and password', async () => {
    await open('#trace')
    await page.locator('#status.bad', { hasText: 'sign in' }).waitFor()
    await page.locator('#sign-in').click()
    await signIn('', token)
    await page.locator('#status.ok').waitFor()
    assert.equal(await page.locator('#sign-in').textContent(), 'Token')
  })

  test('shows nothing before one has signed in, where the server wants it', async () => {
    await server.stop()
    server = await Server.start(0, folder => ({ http: { metrics_public: false }, access: {
      password_file: join(folder, 'passwords'), allow_anonymous: false, administrators: ['boss'],
      rules: [{ effect: 'allow', filter: '#' }, { effect: 'allow', action: 'subscribe', filter: '$SYS/#' }] } }))
    await server.publish('a', 'here')
    await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp', username: 'user', password: 'u' })
    for (const [view, shown] of [['topics', '.row:not([hidden]) .value'], ['clients', 'tbody button.link'], ['flow', '.steps dd']]) {
      await open('#' + view)
      await page.locator('#status.bad', { hasText: 'a user name and a password are needed' }).waitFor()
      assert.equal(await page.locator(shown).count(), 0)
      await page.locator('#sign-in').click()
      await signIn('user', 'wrong')
      await page.locator('#status.bad', { hasText: 'a user name and a password are needed' }).waitFor()
      assert.equal(await page.locator(shown).count(), 0)
      await page.locator('#sign-in').click()
      await signIn('user', 'u')
      await page.locator('#status.ok').waitFor()
      await page.locator(shown).first().waitFor()
      await close()
    }
  })

  test('is used by the keyboard alone', async () => {
    await server.publish('a/b', '1')
    await server.publish('a/c', '2')
    await open()
    await row('c').waitFor()
    const focused = selector => page.evaluate(what => document.activeElement.matches(what), selector)
    const tabTo = async (selector, key) => {
      for (let presses = 0; !await focused(selector); ++presses) {
        assert.ok(presses < 50, `${key} never leads to ${selector}`)
        await page.keyboard.press(key)
      }
    }
    await tabTo('.tree', 'Tab')
    for (const key of ['Home', 'ArrowDown', 'ArrowDown', 'Enter']) await page.keyboard.press(key)
    await page.locator('.payload pre', { hasText: '2' }).waitFor()
    for (const key of ['ArrowLeft', 'ArrowLeft']) await page.keyboard.press(key)   // to `a`, and closes it
    await row('c').waitFor({ state: 'detached' })
    await page.keyboard.press('ArrowRight')
    await row('c').waitFor()
    await tabTo('a[href="#clients"]', 'Shift+Tab')
    await page.keyboard.press('Enter')
    await page.locator('main.clients').waitFor()
    await tabTo('#sign-in', 'Tab')
    await page.keyboard.press('Enter')
    await page.locator('#sign-in-dialog[open]').waitFor()
    await page.keyboard.press('Escape')
    await page.locator('#sign-in-dialog:not([open])').waitFor({ state: 'attached' })
  })

  test('shows in red what is wrong', async () => {
    await server.stop()
    server = await Server.start(0, { upstreams: [{ name: 'far', addresses: [`mqtt://127.0.0.1:${await freePort()}`],
      rules: [{ direction: 'in', filter: 'x/#' }] }] })
    await open('#flow')
    await page.locator('.steps li.alert', { hasText: 'links' }).waitFor()
    await page.locator('.steps li.alert dd.alert', { hasText: '0 of 1' }).waitFor()
  })

  test('shows what flows, and rings with their readers', async t => {
    await server.stop()
    server = await Server.start(0, folder => ({ local: { socket: join(folder, 'local.sock') } }))
    tap('flow/#', t)
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { reconnectPeriod: 0 })
    await client.subscribeAsync('flow/#')
    let count = 0
    const timer = setInterval(() => {
      if (client.connected) client.publish(`flow/${++count % 10}`, String(count), { qos: 1 })
    }, 5)
    t.after(() => clearInterval(timer))
    await open('#flow')
    const figure = (card, name, text) => page.locator('.steps li', { hasText: card })
      .locator(`dt:text-is("${name}") + dd`).filter({ hasText: text }).waitFor()
    const some = /^[1-9]/
    for (const [card, name] of [['1 frame', 'received'], ['1 frame', 'connections'], ['2 decode', 'packets'], ['3 message', 'messages'],
      ['4 submit', 'capacity'], ['5 apply', 'batches'], ['5 apply', 'commands per batch'], ['7 fan out', 'topics'], ['7 fan out', 'rings'],
      ['7 fan out', 'ring readers'], ['8 deliver', 'delivered'], ['9 write', 'sent'], ['9 write', 'latency, median']]) await figure(card, name, some)
    await page.locator('[aria-label="Rings"] tr', { hasText: 'flow/#' }).locator('td:nth-child(3)', { hasText: /^1$/ }).waitFor()
    await until(() => /up to .*: [1-9]/.test(document.querySelector('.bars').getAttribute('aria-label')))
    assert.doesNotMatch(await page.locator('main').textContent(), /NaN|undefined|Infinity/)
  })

  test('shows how far a reader of a ring is behind', async t => {
    await server.stop()
    server = await Server.start(0, folder => ({ local: { socket: join(folder, 'local.sock') } }))
    const reader = tap('flow/#', t)
    await open('#flow')
    const ring = page.locator('[aria-label="Rings"] tr', { hasText: 'flow/#' })
    const lag = text => Promise.all([
      ring.locator('td:nth-child(4)', { hasText: text }).waitFor(),
      page.locator('.steps li', { hasText: '7 fan out' }).locator('dt:text-is("ring lag") + dd').filter({ hasText: text }).waitFor()])
    await lag(/^0 B$/)
    reader.kill('SIGSTOP')
    for (let i = 0; i < 10; ++i) await server.publish('flow/1', 'x'.repeat(1000))
    await lag(/^1\d\.\d kB$/)   // ten messages with their headers
    reader.kill('SIGCONT')
    await lag(/^0 B$/)
  })

  test('says of the flow what it is not shown for', async () => {
    await server.stop()
    server = await Server.start(0, { http: { serves: ['topics', 'api'] } })
    await open('#flow')
    await page.locator('#status.bad', { hasText: 'not served at this address' }).waitFor()
  })

  test('draws the flow', async () => {
    await open('#flow')
    await until(() => document.querySelectorAll('.steps dd').length > 15)
    assert.equal(await page.locator('.steps li').count(), 10)   // the nine and the links
    assert.equal(await page.locator('.charts canvas').count(), 2)
    const known = readFileSync(new URL('../../docs/metrics.md', process.env.TESTS_URL), 'utf8')
    const used = ['flow.ts', 'steps.ts'].flatMap(name =>
      readFileSync(new URL('../../server/console/src/' + name, process.env.TESTS_URL), 'utf8').match(/millrace_[a-z_]+/g))
    assert.deepEqual(used.filter(name => !known.includes(name.replace(/_(sum|count|bucket)$/, ''))), [])
  })

  test('has nothing that axe objects to, by day and by night, on a desk and on a phone', async t => {
    await server.stop()
    const nobody = await freePort()
    server = await Server.start(0, folder => ({ local: { socket: join(folder, 'local.sock') },
      upstreams: [{ name: 'far', addresses: [`mqtt://127.0.0.1:${nobody}`], rules: [{ direction: 'in', filter: 'x/#' }] }] }))
    tap('home/#', t)
    const client = await connected(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'lamp' })
    await client.subscribeAsync('home/#')
    await neverReading('slug')
    await publishUntil(client, async () => (await (await fetch(server.url + '/api/v1/slow')).json()).clients.length > 0)
    await server.publish('home/temp', '1')

    let look   // at the page that is open, which is called so
    const dialog = name => page.locator(`#${name}-dialog[open]`)
    const views = {
      topics: async () => {
        await look('topics')
        await row('home').click()
        await row('temp').click()
        await server.publish('home/temp', '2')
        await server.publish('home/temp', '3')
        await page.locator('.chart canvas').waitFor()
        await look('topic')
        await page.locator('#sign-in').click()
        await dialog('sign-in').waitFor()
        await look('sign-in')
        await signIn('boss', 'b')
      },
      clients: async () => {
        await page.locator('tbody tr.alert', { hasText: 'slug' }).getByRole('button', { name: 'slug' }).click()
        await page.locator('.detail td', { hasText: '#' }).waitFor()
        await look('clients')
        await page.locator('tr', { hasText: 'lamp' }).getByRole('button', { name: 'Disconnect' }).click()
        await dialog('confirm').waitFor()
        await look('confirm')
        await dialog('confirm').locator('button[value=cancel]').click()
        await page.locator('[aria-label="Client begins with"]').fill('nobody')
        await page.locator('.hint', { hasText: 'No client.' }).waitFor()
        await look('no-client')
      },
      flow: async () => {
        await page.locator('.steps li.alert dd.alert', { hasText: '0 of 1' }).waitFor()
        await page.locator('[aria-label="Rings"] tr', { hasText: 'home/#' }).waitFor()
        await look('flow')
      },
      trace: async () => {
        await look('trace')
        await page.locator('[aria-label="Its name"]').fill('lamp')
        await page.locator('main.trace button.primary').click()
        await page.locator('.traces li').first().waitFor()
        await server.publish('home/temp', '4')
        await page.locator('tr.sent', { hasText: 'home/temp' }).first().waitFor()
        await look('traced')
        await page.getByRole('button', { name: /^Remove/ }).click()
        await page.locator('.traces li').waitFor({ state: 'detached' })
      },
    }

    const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
    for (const colorScheme of ['light', 'dark']) {
      for (const viewport of [{ width: 1200, height: 800 }, { width: 390, height: 800 }]) {
        look = async name => {
          await page.locator('#status.ok').waitFor()
          const found = await page.evaluate(() => window.axe.run())
          assert.deepEqual(found.violations.map(one => [name, colorScheme, viewport.width, one.id, one.nodes.map(node => node.html)]), [])
          assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} fits ${viewport.width}`)
          const picture = `${process.env.SCREENSHOTS}/${name}-${colorScheme}-${viewport.width}.png`
          if (process.env.SCREENSHOTS) await page.screenshot({ path: picture })
        }
        await open('', { colorScheme, viewport })
        await page.evaluate(axe)
        for (const [name, visit] of Object.entries(views)) {
          await page.evaluate(view => { location.hash = view }, name)
          await page.locator(`main.${name}`).waitFor()
          await visit()
        }
        await close()
      }
    }
  })

  test('is cached for good but for its first file, and allows no inline script', async () => {
    const first = await fetch(server.url + '/')
    assert.match(first.headers.get('Content-Security-Policy'), /default-src 'none'/)
    assert.equal(first.headers.get('Cache-Control'), 'no-cache')
    const names = (await first.text()).match(/assets\/[\w.-]+/g)
    assert.equal(names.length, 3)   // the script, the style, the icon
    for (const name of names) {
      const file = await fetch(`${server.url}/${name}`)
      assert.match(file.headers.get('Cache-Control'), /immutable/)
    }
    assert.match(await (await fetch(server.url + '/', { headers: { 'Accept-Encoding': 'identity' } })).text(), /href="\/metrics"/)
  })

  test('has the licences of what is in it', async () => {
    await open()
    const link = await page.getByRole('link', { name: 'Licences' }).getAttribute('href')
    const notices = await fetch(new URL(link, server.url + '/'))
    assert.equal(notices.status, 200)
    assert.equal(notices.headers.get('Cache-Control'), 'no-cache')
    assert.match(await notices.text(), /Files: node_modules\/uplot\/[^]*Leon Sorokin[^]*Permission is hereby granted/)
  })

  test('a real EventSource gets the newest value, what changes, and goes on where it was', async () => {
    await server.stop()
    server = await Server.start(await freePort())
    await server.publish('a', '1')
    await server.publish('b', '1')
    await open('#flow')
    await page.evaluate(() => {
      window.seen = []
      const source = new EventSource('/events?filter=%23')
      source.addEventListener('start', event => window.seen.push(JSON.parse(event.data).resumed))
      source.addEventListener('message', event => {
        const { topic, payload } = JSON.parse(event.data)
        window.seen.push(`${topic} ${payload}`)
      })
    })
    const seen = wanted => until(text => JSON.stringify(window.seen) === text, JSON.stringify(wanted))
    await seen([false, 'a 1', 'b 1'])
    await server.publish('b', '2')
    await seen([false, 'a 1', 'b 1', 'b 2'])
    // A reload ends the stream; the browser comes again with Last-Event-ID.
    await fetch(`${server.url}/api/v1/reload`, { method: 'POST', headers: { Authorization: 'Basic ' + btoa('boss:b') } })
    await seen([false, 'a 1', 'b 1', 'b 2', true])
    await server.publish('a', '3')
    await seen([false, 'a 1', 'b 1', 'b 2', true, 'a 3'])
  })
})

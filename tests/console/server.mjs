// The server under test: SERVER_BINARY, with two users and a token, on free ports, ended by its process id.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

const binary = process.env.SERVER_BINARY
export const boss = 'Basic ' + btoa('boss:b')
export const token = randomBytes(32).toString('hex')

// A port outside the range that the system assigns by itself (bind to port 0, local ends of connections), so that it
// stays free while nobody listens there. From 10,000 to 11,999: free_port() of tests/peer/suite.py takes higher ones.
export async function freePort() {
  const [first] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t').map(Number)
  const isFree = port => new Promise(resolve => {
    const probe = createServer().once('error', () => resolve(0))
    probe.listen(port, '127.0.0.1', () => {
      const bound = probe.address().port
      probe.close(() => resolve(bound))
    })
  })
  for (let tries = 0; first >= 12_000 && tries < 100; ++tries) {
    const port = await isFree(10_000 + Math.floor(Math.random() * 2000))
    if (port) return port
  }
  return isFree(0)   // all ports are such as the system gives
}

export class Server {
  // `httpPort`: 0 is any. `keys`: what is set besides, or what makes that of the server's folder.
  static async start(httpPort = 0, keys = {}) {
    const server = new Server()
    server.folder = mkdtempSync(join(tmpdir(), 'millrace-test-'))
    const passwords = join(server.folder, 'passwords')
    for (const [user, password] of [['boss', 'b'], ['user', 'u']]) {
      execFileSync(binary, ['passwd', passwords, user], { input: password + '\n' })
    }
    writeFileSync(join(server.folder, 'token'), token + '\n', { mode: 0o600 })
    const more = typeof keys === 'function' ? keys(server.folder) : keys
    server.transports = more.listeners?.map(one => one.transport)   // undefined: tcp and ws, at free ports
    server.config = join(server.folder, 'millrace.json')
    writeFileSync(server.config, JSON.stringify({
      access: { password_file: passwords, allow_anonymous: true, administrators: ['boss'],
        http_tokens: [{ name: 'robot', token_file: join(server.folder, 'token'), scopes: ['read', 'publish', 'manage'] }] },
      ...more,
    }))
    await server.run(httpPort)
    return server
  }

  async run(httpPort = this.httpPort) {
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILLRACE_')))
    this.process = spawn(binary, ['serve', '--config', this.config, '--http-port', String(httpPort),
      ...(this.transports ? [] : ['--mqtt-port', '0', '--ws-port', '0'])], { stdio: ['ignore', 'ignore', 'pipe'], env: environment })
    const lines = createInterface({ input: this.process.stderr })
    const ports = {}
    await new Promise((resolve, reject) => {
      lines.on('line', line => {
        const match = /\blistening\b.* port=(\d+) listener=(\w+)/.exec(line)
        if (match) ports[match[2]] = Number(match[1])
        if (['http', ...this.transports ?? ['tcp', 'ws']].every(name => ports[name])) resolve()
      })
      lines.on('close', () => reject(new Error('the server ended')))
    })
    this.httpPort = ports.http
    this.mqttPort = ports.tcp
    this.url = `http://127.0.0.1:${ports.http}`
  }

  async kill() {
    const ended = new Promise(resolve => this.process.once('exit', resolve))
    this.process.kill('SIGKILL')
    await ended
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }

  async publish(topic, payload, retain = true) {
    const path = topic.split('/').map(encodeURIComponent).join('/')
    const answer = await fetch(`${this.url}/api/v1/topics/${path}`,
      { method: retain ? 'PUT' : 'POST', body: payload, headers: { Authorization: boss } })
    if (answer.status !== 204) throw new Error(`${topic}: ${answer.status} ${await answer.text()}`)
  }
}

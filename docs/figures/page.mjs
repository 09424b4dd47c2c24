// See draw-page: publishers, readers, and the page with one topic chosen.
import mqtt from 'mqtt'
import { chromium } from 'playwright-core'
import { Server } from './server.mjs'

const seconds = 20
const noise = at => Math.sin(at / 5) + Math.sin(at / 1.7) / 3
const values = at => ({
  'home/kitchen/temperature': (21.5 + noise(at)).toFixed(1),
  'home/kitchen/humidity': Math.round(45 + 4 * noise(at + 3)),
  'home/living room/lamp': at % 8 < 4 ? 'on' : 'off',
  'plant/line 1/motor/speed': Math.round(1450 + 60 * noise(at)),
  'plant/line 1/motor/current': (12 + noise(at + 1)).toFixed(2),
  'plant/line 1/motor/state': 'running',
  'plant/line 2/motor/speed': Math.round(980 + 30 * noise(at + 2)),
  'race/car 7/position': JSON.stringify({ lat: 48.1 + at / 9000, lon: 11.5 + at / 7000, speed: Math.round(180 + 40 * noise(at)) }),
  'race/car 12/position': JSON.stringify({ lat: 48.2 + at / 9000, lon: 11.6 + at / 7000, speed: Math.round(170 + 40 * noise(at + 4)) }),
  'sensors/outdoor/wind': (4 + noise(at + 5)).toFixed(1),
  'sensors/outdoor/rain': '0.0',
})

const server = await Server.start()
const publisher = await mqtt.connectAsync(`mqtt://127.0.0.1:${server.mqttPort}`, { clientId: 'plant-gateway' })
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
const page = await browser.newPage({ viewport: { width: 1100, height: 560 } })
page.setDefaultTimeout(120_000)
const row = name => page.locator('.row:not([hidden])', { has: page.locator('.name', { hasText: name }) }).first()
const begun = Date.now()
const timer = setInterval(() => {
  for (const [topic, value] of Object.entries(values((Date.now() - begun) / 1000))) publisher.publish(topic, String(value))
}, 200)
await page.goto(server.url, { timeout: 120_000 })
for (const name of ['home', 'kitchen', 'plant', 'line 1', 'motor', 'race', 'car 7', 'speed']) await row(name).click()
await new Promise(resolve => setTimeout(resolve, seconds * 1000))
process.stdout.write(await page.screenshot())
clearInterval(timer)
await publisher.endAsync()
await browser.close()
await server.stop()

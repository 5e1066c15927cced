import { randomBytes } from 'node:crypto'
import { generateKey } from '../keyring.ts'
import { defineCommand } from './command.ts'

export const secretsGenerate = defineCommand({
  name: 'secrets generate',
  summary: 'Print fresh keys and a metrics token, ready for the environment of a new installation.',
  printsData: true,
  async run() {
    const secrets = {
      SESSION_KEYS: generateKey(),
      ENCRYPTION_KEYS: generateKey(),
      SIGNING_KEYS: generateKey(),
      METRICS_TOKEN: randomBytes(32).toString('base64url')
    }
    const text = Object.entries(secrets).map(([name, value]) => `${name}=${value}`)
    return { data: secrets, text: text.join('\n') }
  }
})

import { defineCommand } from './command.ts'

export const serve = defineCommand({
  name: 'serve',
  summary: 'Run the server.',
  async run() {
    // The server module is the whole process: it reads the environment, listens and exits by itself.
    await import('../server.ts')
    return undefined
  }
})

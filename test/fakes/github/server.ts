import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { answerApi } from './api.ts'
import { answerGit } from './git.ts'
import { refuse } from './http.ts'
import { answerSite } from './oauth.ts'
import { createWorld, type Fault, type World } from './world.ts'

export { deliver } from './hooks.ts'
export {
  addInstallation,
  appKey,
  type FakeInstallation,
  type FakeRepository,
  type FakeUser,
  fakeRepository,
  fakeUser
} from './world.ts'

export interface FakeGithub extends World {
  close(): Promise<void>
}

/** A fake of GitHub with one app, over HTTP, with the formats and errors of the real one. */
export async function startFakeGithub(): Promise<FakeGithub> {
  const world = createWorld()
  const server = createServer((request, response) => {
    handle(world, request, response).catch(error => refuse(response, 500, String(error)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  world.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return Object.assign(world, {
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  })
}

async function handle(world: World, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url!, world.url)
  world.requests.push({ method: request.method!, path: url.pathname, headers: request.headers })
  if (await breaks(world, request, response, url)) return
  if (await answerSite(world, request, response, url)) return
  if (await answerGit(world, request, response, url)) return
  await answerApi(world, request, response, url)
}

/** Applies a fault to a request. @returns whether there was one */
async function breaks({ outage, faults }: World, request: IncomingMessage, response: ServerResponse, url: URL) {
  const fault =
    outage !== null && url.pathname.startsWith(outage.path)
      ? outage
      : faults.find(
          ({ path, method, times = 1 }) =>
            url.pathname.startsWith(path) && times > 0 && (method ?? request.method) === request.method
        )
  if (fault === undefined) return false
  if ('times' in fault && fault.times !== undefined) fault.times--
  const { status, delay: ms, message, headers }: Fault = fault
  if (ms !== undefined) {
    await delay(ms)
    return false
  }
  if (status === 0) request.socket.destroy()
  else if (status !== undefined) refuse(response, status, message ?? 'Server Error', headers)
  return true
}

import type { Page } from 'playwright-core'
import type { LocalDeployer } from '../../integrations/deployer/local/index.ts'
import type { Files } from '../support/repository.ts'
import type { Scope, Site } from './site.ts'

/* Apps that are really built and served, for tests of the pages about them. */

/** Milliseconds for a build, or for its consequences, on a busy machine. */
export const PATIENCE = 90_000

/** Serves until it gets a request for /end, and does not start again afterwards. */
const SERVER = `
  const { existsSync, writeFileSync } = require('node:fs')
  const end = process.env.HOME + '/ended'
  if (existsSync(end)) process.exit(1)
  require('node:http').createServer((request, response) => {
    response.end('it runs')
    if (request.url !== '/end') return
    writeFileSync(end, '')
    response.on('close', () => process.exit(1))
  }).listen(process.env.PORT, process.env.HOST)`

/** @param scripts for its package.json, such as one that builds it */
export const appFiles = (scripts: Readonly<Record<string, string>> = {}): Files => ({
  'package.json': JSON.stringify({ name: 'app', private: true, scripts: { start: 'node server.js', ...scripts } }),
  'server.js': SERVER
})

/** Ends all apps when the scope ends, before their site does, which is needed for that. */
export function endApps(scope: Scope, { app }: Site): void {
  scope.after(() => app.getDecorator<LocalDeployer>('deployer').stop(AbortSignal.timeout(30_000)))
}

export const statusOf = (page: Page) => page.locator('.page-header .status').first()

/** Waits until the page shows a deployment that is live. */
export async function untilLive(page: Page): Promise<void> {
  await page.waitForURL('**/deployments/*')
  await statusOf(page).getByText('Live', { exact: true }).waitFor()
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Variables } from '../../config/index.ts'
import { CommandError, defineCommand } from '../command.ts'
import { connect } from '../connect.ts'
import { type App, appOption, chosenApp, pathOf } from './app.ts'

export const open = defineCommand({
  name: 'open',
  summary: 'Print the URL of an app, and open it in a browser if possible.',
  examples: ['rhone open hello'],
  args: ['[app]'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const app = await (await connect(input)).request<App>('GET', pathOf(await chosenApp(input, input.args[0])))
    if (app.url === null)
      throw new CommandError(`${app.slug} has no URL yet; deploy it first: rhone deploy ${app.slug}`)
    if (input.terminal.out && !input.json) await openBrowser(app.url, await input.variables())
    return { data: { app: app.slug, url: app.url }, text: app.url }
  }
})

/** @returns whether a browser was started; otherwise the user has the printed URL */
export async function openBrowser(url: string, { BROWSER }: Variables): Promise<boolean> {
  if (!/^https?:\/\//.test(url)) return false
  const program = BROWSER || (process.platform === 'darwin' ? 'open' : 'xdg-open')
  const child = spawn(program, [url], { stdio: 'ignore', detached: true })
  try {
    await once(child, 'spawn')
    child.unref()
    return true
  } catch {
    return false // no such program
  }
}

import { type Client, listAll } from '../client.ts'
import { CommandError, defineCommand } from '../command.ts'
import { connect } from '../connect.ts'
import { readFolder } from '../folder.ts'
import { table } from '../format.ts'
import { type App, appOption, chosenApp, pathOf } from './app.ts'

interface Region {
  readonly code: string
  readonly name: string
  readonly available: boolean
}

const regionsOf = (client: Client) => listAll<Region>(client, '/api/v1/regions')

export const regionsShow = defineCommand({
  name: 'regions show',
  summary: 'List the regions that apps can run in, and mark the one of an app.',
  examples: ['rhone regions show', 'rhone regions show hello'],
  args: ['[app]'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const client = await connect(input)
    const named = input.options.app ?? input.args[0] ?? (await readFolder(input.folder)).app
    const [regions, app] = await Promise.all([
      regionsOf(client),
      named === undefined ? null : client.request<App>('GET', pathOf(named))
    ])
    const rows = regions.map(({ code, name, available }) => [
      code,
      name,
      code === app?.region ? `${app.slug} runs here` : available ? '' : 'no new apps'
    ])
    const data = { app: app && { slug: app.slug, region: app.region }, regions }
    return { data, text: table(['region', 'place', ''], rows, input.terminal) }
  }
})

export const regionsSet = defineCommand({
  name: 'regions set',
  summary: 'Choose the region of an app, from its next deployment on.',
  examples: ['rhone regions set fra', 'rhone regions set fra --app hello'],
  args: ['<region>'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const path = pathOf(await chosenApp(input))
    const client = await connect(input)
    const code = input.args[0]!.toLowerCase()
    const regions = await regionsOf(client)
    if (!regions.some(region => region.code === code))
      throw new CommandError(`unknown region "${code}"; rhone regions show lists them`)
    const app = await client.request<App>('PATCH', path, { region: code })
    input.note(`It takes effect with the next deployment: rhone deploy ${app.slug}`)
    return { data: { slug: app.slug, region: app.region }, text: `${app.slug} runs in ${app.region}` }
  }
})

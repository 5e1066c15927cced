import { slugify } from '../../domain/base/slug.ts'
import { listAll } from '../client.ts'
import { CommandError, defineCommand, UsageError } from '../command.ts'
import { connect } from '../connect.ts'
import { facts, table } from '../format.ts'
import { age } from '../terminal.ts'
import { type App, appOption, chosenApp, pathOf } from './app.ts'

/** The settings that `apps create` and `apps update` take. */
const settings = {
  repo: { type: 'string', value: '<owner/name>', description: 'The GitHub repository.' },
  git: { type: 'string', value: '<url>', description: 'The URL of a git repository elsewhere.' },
  branch: { type: 'string', value: '<branch>', description: 'The branch to build. Default: main.' },
  root: { type: 'string', value: '<folder>', description: 'The folder of the app within the repository.' },
  region: { type: 'string', value: '<code>', description: 'The region to run in; rhone regions show lists the codes.' },
  'auto-deploy': { type: 'string', value: 'on|off', description: 'Deploy on push. Default: on.' },
  'health-path': {
    type: 'string',
    value: '<path>',
    description: 'Health check path; a status below 400 means healthy. Default: /health.'
  },
  'health-grace': {
    type: 'string',
    value: '<seconds>',
    description: 'Seconds a new version may take to become healthy. Default: 30.'
  },
  port: {
    type: 'string',
    value: '<port>',
    description: 'The port the app listens on, on Fly; local apps get theirs in PORT. Default: 8080.'
  }
} as const
type Settings = { readonly [Name in keyof typeof settings]?: string }

export const appsList = defineCommand({
  name: 'apps list',
  summary: 'List the apps of your teams.',
  examples: ['rhone apps list', 'rhone apps list --team acme --json'],
  options: { team: { type: 'string', value: '<team>', description: 'Only apps of this team.' } },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { team } = input.options
    const apps = await listAll<App>(await connect(input), '/api/v1/apps', team === undefined ? {} : { team })
    if (apps.length === 0) input.note('There are no apps yet. Create one with: rhone apps create <name>')
    const rows = apps.map(app => [app.slug, app.name, sourceOf(app), app.region, app.url ?? '-', age(app.updatedAt)])
    return {
      data: apps,
      text: apps.length === 0 ? '' : table(['app', 'name', 'source', 'region', 'url', 'changed'], rows, input.terminal)
    }
  }
})

export const appsCreate = defineCommand({
  name: 'apps create',
  summary: 'Create an app.',
  examples: ['rhone apps create hello', 'rhone apps create website --repo acme/website --team acme'],
  args: ['<name>'],
  options: {
    team: { type: 'string', value: '<team>', description: 'The team that owns it. Default: your personal team.' },
    slug: { type: 'string', value: '<slug>', description: 'Its name in URLs. Default: derived from the name.' },
    ...settings
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { team, slug, ...wanted } = input.options
    const client = await connect(input)
    const body = { name: input.args[0], ...(team && { team }), ...(slug && { slug }), ...settingsOf(wanted) }
    const app = await client.request<App>('POST', '/api/v1/apps', body)
    const how = hasSource(app) ? `rhone deploy ${app.slug}` : `rhone deploy ${app.slug}, in the folder of its code`
    const plain = slugify(input.args[0]!)
    if (slug === undefined && app.slug !== plain)
      input.note(`Its name in URLs is ${app.slug}: ${plain} is taken or reserved`)
    input.note(`${app.slug} was created. Deploy it with: ${how}`)
    return { data: app, text: describe(app) }
  }
})

export const appsShow = defineCommand({
  name: 'apps show',
  summary: 'Show an app.',
  examples: ['rhone apps show hello'],
  args: ['[app]'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const app = await (await connect(input)).request<App>('GET', pathOf(await chosenApp(input, input.args[0])))
    return { data: app, text: describe(app) }
  }
})

export const appsUpdate = defineCommand({
  name: 'apps update',
  summary: 'Change settings of an app; "none" restores the default.',
  examples: ['rhone apps update hello --branch release', 'rhone apps update hello --health-grace 120 --repo none'],
  args: ['[app]'],
  options: {
    ...appOption,
    name: { type: 'string', value: '<name>', description: 'Its display name.' },
    ...settings
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { app: _, name, ...wanted } = input.options
    const changes = { ...(name !== undefined && { name }), ...settingsOf(wanted) }
    if (Object.keys(changes).length === 0) throw new UsageError('nothing to change: give an option such as --branch')
    const path = pathOf(await chosenApp(input, input.args[0]))
    const app = await (await connect(input)).request<App>('PATCH', path, changes)
    input.note(`Build and runtime settings take effect with the next deployment: rhone deploy ${app.slug}`)
    return { data: app, text: describe(app) }
  }
})

export const appsDelete = defineCommand({
  name: 'apps delete',
  summary: 'Delete an app, with its env vars, deployments and logs.',
  examples: ['rhone apps delete hello --confirm hello'],
  args: ['<app>'],
  options: {
    confirm: { type: 'string', value: '<app>', description: 'The slug of the app; without it, the command asks.' }
  },
  forDeployers: true,
  async run(input) {
    const client = await connect(input)
    const app = await client.request<App>('GET', pathOf(input.args[0]!))
    const { confirm = await asked(input, app) } = input.options
    if (confirm !== app.slug)
      throw new CommandError(`nothing was deleted: "${confirm}" is not the slug of the app, which is ${app.slug}`)
    await client.request('DELETE', pathOf(app.id))
    input.note(`${app.slug} is deleted`)
    return undefined
  }
})

type Asker = Pick<Parameters<typeof appsDelete.run>[0], 'terminal' | 'note' | 'read'>

async function asked({ terminal, note, read }: Asker, { slug }: App): Promise<string> {
  if (!terminal.in) throw new UsageError(`this cannot be undone: confirm with --confirm ${slug}`)
  note(`This deletes ${slug} for good. Type its slug and then Ctrl-D:`)
  return (await read()).trim()
}

function settingsOf(wanted: Settings): object {
  const { repo, git, branch, root, region, port, 'auto-deploy': autoDeploy } = wanted
  const { 'health-path': healthPath, 'health-grace': healthGrace } = wanted
  if (autoDeploy !== undefined && autoDeploy !== 'on' && autoDeploy !== 'off')
    throw new UsageError(`--auto-deploy: "${autoDeploy}" must be on or off`)
  return {
    ...(repo !== undefined && { githubRepo: orNone(repo) }),
    ...(git !== undefined && { gitUrl: orNone(git) }),
    ...(branch !== undefined && { githubBranch: branch }),
    ...(root !== undefined && { rootDirectory: orNone(root) }),
    ...(region !== undefined && { region }),
    ...(autoDeploy !== undefined && { autoDeploy: autoDeploy === 'on' }),
    ...(healthPath !== undefined && { healthPath: orNone(healthPath) }),
    ...(healthGrace !== undefined && { healthGrace: numberOrNone('health-grace', healthGrace, 300) }),
    ...(port !== undefined && { port: numberOrNone('port', port, 65_535) })
  }
}

/** `none` clears a setting. */
const orNone = (text: string) => (text === 'none' ? null : text)

function numberOrNone(option: string, text: string, max: number): number | null {
  if (text === 'none') return null
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (number >= 1 && number <= max) return number
  throw new UsageError(`--${option}: "${text}" must be a whole number from 1 to ${max}, or none`)
}

export const hasSource = ({ githubRepo, gitUrl }: App) => githubRepo !== null || gitUrl !== null

function sourceOf({ githubRepo, gitUrl, githubBranch }: App): string {
  const repository = githubRepo ?? gitUrl
  return repository === null ? 'uploads' : `${repository}#${githubBranch}`
}

function describe(app: App): string {
  return facts({
    app: app.slug,
    name: app.name,
    url: app.url ?? '-',
    source: sourceOf(app),
    ...(app.rootDirectory && { folder: app.rootDirectory }),
    region: app.region,
    'auto-deploy': app.autoDeploy ? 'on' : 'off',
    ...(app.healthPath !== null && { 'health path': app.healthPath }),
    ...(app.healthGrace !== null && { 'health grace': `${app.healthGrace} s` }),
    ...(app.port !== null && { port: String(app.port) }),
    made: app.createdAt,
    id: app.id
  })
}

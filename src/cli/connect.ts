import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/index.ts'
import { findServer, localUrl } from '../listening.ts'
import { type Client, createClient, type ServerPlace } from './client.ts'
import { CommandError, type Input } from './command.ts'
import { type Credentials, readCredentials } from './credentials.ts'
import { readFolder } from './folder.ts'

/** The inputs needed to find the server and the token. */
export type Host = Pick<Input, 'config' | 'variables' | 'folder'>

/** A client of the chosen server. @throws CommandError that says how to choose one */
export async function connect(host: Host): Promise<Client> {
  return createClient(await locate(host))
}

/**
 * Finds the server: `--url` or `RHONE_URL`, then the folder's `.rhone.json`, then the server of the last login, then
 * this machine's server. Finds its token: `--token` or `RHONE_TOKEN`, then that of the login, then the local
 * operator's.
 * @param isLogin the token is yet to be made, so the folder may name any server
 * @throws CommandError that says how to choose a server
 * A folder may come from somebody else, so its server gets only a token that `login` made for it.
 */
export async function locate(host: Host, { isLogin = false } = {}): Promise<ServerPlace> {
  const config = await host.config()
  const credentials = await readCredentials(await host.variables())
  const named = config.client.url === null ? null : requireUrl('RHONE_URL', config.client.url)
  const local = findServer(config.dataDir)
  if (named !== null) return place(named, config, credentials)

  const { url: remembered } = await readFolder(host.folder)
  if (remembered !== undefined) {
    const url = requireUrl('.rhone.json', remembered)
    const isKnown =
      isLogin || credentials.servers[new URL(url).origin] !== undefined || (local !== undefined && isSame(local, url))
    if (!isKnown)
      throw new CommandError(`this folder is deployed to ${url}: log in there with: rhone login --url ${url}`)
    return place(url, config, credentials)
  }
  if (credentials.current !== null && (isLogin || config.client.token === null))
    return place(requireUrl('the login', credentials.current), config, credentials)
  if (local === undefined && config.port === 0)
    throw new CommandError('the server picks its own port (PORT=0): set RHONE_URL to its address')
  return { ...place(local ?? localUrl(config, config.port), config, credentials), isLocal: true }
}

/** The server and its login's token, whether or not there is one yet. */
function place(url: string, config: Config, { servers }: Credentials): ServerPlace {
  return {
    url,
    isLocal: false,
    token: async () => config.client.token ?? servers[new URL(url).origin]?.token ?? (await operatorToken(config))
  }
}

function requireUrl(source: string, url: string): string {
  if (/^https?:\/\//.test(url) && URL.canParse(url)) return url
  throw new CommandError(`${source}: "${url}" is not an http or https URL`)
}

const isSame = (left: string, right: string) => new URL(left).origin === new URL(right).origin

/** The token that the first boot stored on this machine. */
async function operatorToken({ dataDir }: Config): Promise<string> {
  const path = join(dataDir, 'operator-token')
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CommandError(`no API token: run rhone login, or set RHONE_TOKEN (${path} cannot be read: ${code})`)
  }
}

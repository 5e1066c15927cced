/** A repository URL, or what is wrong with it, phrased to follow the field's name. */
export type GitUrl = { readonly url: string } | { readonly complaint: string }

const LOOPBACK = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/
const LONGEST = 500
/** Hosts (including IPv6 addresses) and paths of characters that never need quoting. */
const HOST = /^(?:[a-z0-9][a-z0-9.-]*|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i
const PATH = /^\/[\w.~%/+@,:=!-]+$/
/** The scp-like form: `git@host:owner/name.git`. */
const SCP = /^[\w.-]{1,64}@([\w.-]{1,253}):([\w.~/+-]{1,400})$/
/** Path segments that follow the repository name in page URLs of common hosts. */
const PAGES = new Set(['tree', 'blob', 'src', 'commit', 'commits', 'pull', 'issues', '-'])

/**
 * Parses a repository URL as users write it. Only the location is passed to git: no credentials, which would end up in
 * logs and process lists, no query, and no protocol but HTTPS.
 *
 * @param allowLocal also accepts `file:` and `http:` to this machine
 */
export function readGitUrl(text: string, allowLocal: boolean): GitUrl {
  if (text.length > LONGEST) return { complaint: `must have at most ${LONGEST} characters` }
  const [, host, path] = SCP.exec(text) ?? []
  if (host !== undefined) return { complaint: withoutSsh(host, path!) }
  const url = URL.parse(text)
  if (url === null) return { complaint: 'must be a URL, for example https://git.example.com/acme/website.git' }
  if (/^(?:git\+)?ssh:$/.test(url.protocol)) return { complaint: withoutSsh(url.hostname, url.pathname) }
  const isLocal =
    (url.protocol === 'http:' && LOOPBACK.test(url.hostname)) || (url.protocol === 'file:' && url.hostname === '')
  if (url.protocol !== 'https:' && !(allowLocal && isLocal)) return { complaint: 'must begin with https://' }
  if (url.username !== '' || url.password !== '') return { complaint: 'must not contain a user or password' }
  if (/[?#]/.test(text)) return { complaint: 'must not have a query or fragment' }
  return readRepository(text, url)
}

function readRepository(text: string, { protocol, pathname, origin }: URL): GitUrl {
  const [owner, name, page, detail] = pathname.split('/').slice(1)
  if (protocol !== 'file:' && detail && PAGES.has(page!))
    return {
      complaint: `is a page of a repository: use ${origin}/${owner}/${name}, and set the branch as githubBranch`
    }
  const tidied = text.replace(/\/{1,9}$/, '')
  const authority = tidied.indexOf('://') + 3
  const slash = tidied.indexOf('/', authority)
  if (slash === -1) return { complaint: 'must have the path of a repository' }
  const isWritten =
    PATH.test(tidied.slice(slash)) && (protocol === 'file:' || HOST.test(tidied.slice(authority, slash)))
  if (!isWritten)
    return { complaint: 'may contain only letters, digits and . ~ % / + @ , : = ! - _ : write others as %XX' }
  return { url: tidied }
}

function withoutSsh(host: string, path: string): string {
  return `must begin with https://, because SSH is not supported: use https://${host}/${path.replace(/^\//, '')}`
}

/** Extracts `owner/name` of a GitHub repository from that form or from the URL of one of its pages; null otherwise. */
export function readGithubRepo(text: string): string | null {
  const name = text
    .trim()
    .replace(/^(?:(?:https?:\/\/)?(?:www\.)?github\.com\/|(?:ssh:\/\/)?git@github\.com[:/])/i, '')
    .split(/[?#]/, 1)[0]!
  const [owner = '', repository = '', ...rest] = name.split('/')
  if (rest.some(part => part !== '') && !PAGES.has(rest[0]!)) return null
  const tidied = repository.replace(/\.git$/, '')
  const isName = /^[A-Za-z0-9][A-Za-z0-9-]{0,38}$/.test(owner) && !/--|-$/.test(owner)
  return isName && /^[A-Za-z0-9_.-]{1,100}$/.test(tidied) && !/^\.{1,2}$/.test(tidied) ? `${owner}/${tidied}` : null
}

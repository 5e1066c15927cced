/** Where somebody goes who came to sign in and nothing else: it says who they are. */
const HOME = '/login'

/** Any host at all: it is only told whether a path leaves it. */
const HERE = 'http://here.invalid'

/** The path of this server that a request wants to go on to; never another server, however it is written. */
export function safeNext(wanted: string | undefined): string {
  const url = wanted?.startsWith('/') ? URL.parse(wanted, HERE) : null
  if (url === null || url.origin !== HERE || url.username !== '' || url.password !== '') return HOME
  const path = url.pathname + url.search + url.hash
  return path.startsWith('//') ? HOME : path
}

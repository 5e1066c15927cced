/** The default page after a sign-in. */
const HOME = '/dashboard'

/** An arbitrary host, for detecting paths that lead to another one. */
const HERE = 'http://here.invalid'

/** The path on this server that a request wants to continue at; never another server, whatever the spelling. */
export function safeNext(wanted: string | undefined): string {
  const url = wanted?.startsWith('/') ? URL.parse(wanted, HERE) : null
  if (url === null || url.origin !== HERE || url.username !== '' || url.password !== '') return HOME
  const path = url.pathname + url.search + url.hash
  return path.startsWith('//') ? HOME : path
}

import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

export interface ReceivedMail {
  readonly from: string
  readonly to: readonly string[]
  /** Headers and text, as they arrived. */
  readonly content: string
}

/** A mail server as its clients see it (RFC 5321), with a password and without TLS. */
export class FakeSmtp {
  readonly user = { name: 'rhone', password: 'p@ss word' }
  readonly mails: ReceivedMail[] = []
  /** Where it stops answering: the connection stays open. */
  silentAt: 'greeting' | 'end of data' | undefined
  /** Recipients that it refuses. */
  readonly refused = new Set<string>()
  port = 0
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer(socket => {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    this.#converse(socket)
  })

  /** With the user's name and password. */
  get url(): string {
    const { name, password } = this.user
    return `smtp://${name}:${encodeURIComponent(password)}@127.0.0.1:${this.port}`
  }

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #converse(socket: Socket): void {
    const say = (line: string) => socket.write(`${line}\r\n`)
    let isKnown = false
    let from = ''
    let to: string[] = []
    let data: string[] | undefined
    if (this.silentAt === 'greeting') return
    say('220 mail.example.com ESMTP')
    createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY }).on('line', line => {
      if (data !== undefined) {
        if (line !== '.') return void data.push(line.replace(/^\./, ''))
        if (this.silentAt === 'end of data') return
        this.mails.push({ from, to, content: data.join('\n') })
        data = undefined
        return say('250 2.0.0 queued')
      }
      const [, verb = '', rest = ''] = /^(\w+) ?(.*)$/.exec(line) ?? []
      const [, address = ''] = /<(.*)>/.exec(rest) ?? []
      switch (verb.toUpperCase()) {
        case 'EHLO':
          say('250-mail.example.com')
          return say('250 AUTH PLAIN')
        case 'AUTH': {
          const [, name, password] = Buffer.from(rest.split(' ')[1] ?? '', 'base64')
            .toString()
            .split('\0')
          isKnown = name === this.user.name && password === this.user.password
          return say(isKnown ? '235 2.7.0 accepted' : '535 5.7.8 wrong user or password')
        }
        case 'MAIL':
          from = address
          to = []
          return say(isKnown ? '250 2.1.0 ok' : '530 5.7.0 authentication required')
        case 'RCPT':
          if (this.refused.has(address)) return say('550 5.1.1 no such user')
          to.push(address)
          return say('250 2.1.5 ok')
        case 'DATA':
          data = []
          return say('354 end with a dot')
        case 'QUIT':
          say('221 2.0.0 bye')
          return socket.end()
        default:
          return say('502 5.5.1 unknown')
      }
    })
  }
}

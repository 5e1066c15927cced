import { defineCommand } from '../command.ts'
import { connect } from '../connect.ts'
import { facts } from '../format.ts'

interface Me {
  readonly id: string
  readonly username: string
  readonly email: string | null
  readonly isOperator: boolean
}

export const whoami = defineCommand({
  name: 'whoami',
  summary: 'Show the server in use and the logged-in user.',
  printsData: true,
  forDeployers: true,
  async run(input) {
    const client = await connect(input)
    const me = await client.request<Me>('GET', '/api/v1/me')
    const text = facts({
      user: me.username,
      ...(me.email !== null && { email: me.email }),
      ...(me.isOperator && { role: 'operator' }),
      server: client.url
    })
    return { data: { ...me, server: client.url }, text }
  }
})

import assert from 'node:assert/strict'
import { SocketAddress } from 'node:net'
import { test } from 'node:test'
import { isPublic, requirePublicHost } from '../../integrations/builder/public-address.ts'

const PRIVATE_V4 = [
  '0.0.0.0',
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.2.1',
  '192.168.1.1',
  '198.18.0.1',
  '198.51.100.7',
  '203.0.113.9',
  '224.0.0.1',
  '239.255.255.250',
  '240.0.0.1',
  '255.255.255.255'
]
const PUBLIC_V4 = [
  '1.1.1.1',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '140.82.121.4',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '223.255.255.255'
]

/** The ways in which IPv6 carries an IPv4 address to the same host. */
const FORMS: Record<string, (address: string) => string> = {
  plain: address => address,
  mapped: address => `::ffff:${address}`,
  'mapped, in hexadecimal': address => `::ffff:${hex(address)}`,
  'mapped, in full': address => `0:0:0:0:0:ffff:${hex(address)}`,
  NAT64: address => `64:ff9b::${address}`,
  'NAT64, in hexadecimal': address => `64:ff9b:0:0:0:0:${hex(address)}`,
  '6to4': address => `2002:${hex(address)}::1`
}

function hex(address: string): string {
  const [a, b, c, d] = address.split('.').map(Number)
  return `${((a! << 8) | b!).toString(16)}:${((c! << 8) | d!).toString(16)}`
}

test('the notation of an IPv4 address never changes whether it is public', () => {
  for (const [name, form] of Object.entries(FORMS)) {
    for (const address of PRIVATE_V4) assert.equal(isPublic(form(address)), false, `${address}, ${name}`)
    for (const address of PUBLIC_V4) assert.equal(isPublic(form(address)), true, `${address}, ${name}`)
  }
})

test('of IPv6, only global unicast addresses are public', () => {
  for (const address of ['2606:50c0:8000::153', '2a00:1450:4001:81b::200e', '2001:4860:4860::8888'])
    assert.equal(isPublic(address), true, address)
  for (const address of [
    '::',
    '::1',
    '::127.0.0.1',
    '::8.8.8.8',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:db8::1',
    '3fff:1::1',
    '4000::1',
    'fc00::1',
    'fdaa:0:1::3',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1'
  ])
    assert.equal(isPublic(address), false, address)
})

test('random addresses are classified the same in any notation', () => {
  for (let i = 0; i < 2_000; i++) {
    const address = Array.from({ length: 4 }, () => Math.floor(Math.random() * 256)).join('.')
    const verdicts = new Set(Object.values(FORMS).map(form => isPublic(form(address))))
    assert.equal(verdicts.size, 1, address)
    const groups = Array.from({ length: 8 }, () => Math.floor(Math.random() * 65_536).toString(16)).join(':')
    const short = new SocketAddress({ address: groups, family: 'ipv6' }).address
    assert.equal(isPublic(groups), isPublic(short), groups)
    assert.equal(isPublic(groups), isPublic(groups.toUpperCase()), groups)
  }
})

test('a host is refused if any of its addresses is private', async () => {
  const lookup = async () => [{ address: '140.82.121.4' }, { address: '10.0.0.1' }]
  await assert.rejects(requirePublicHost('git.example', lookup), /The host git.example is not on the public Internet/)
})

test('the checked addresses of a public host are returned, to connect only to these', async () => {
  let asked = 0
  const lookup = async () => {
    asked++
    return [{ address: '140.82.121.4' }, { address: '2606:50c0:8000::153' }]
  }
  assert.deepEqual(await requirePublicHost('git.example', lookup), ['140.82.121.4', '2606:50c0:8000::153'])
  assert.equal(asked, 1)
})

test('literal addresses, even as written in URLs, are not looked up', async () => {
  const lookup = () => assert.fail('looked up')
  assert.deepEqual(await requirePublicHost('140.82.121.4', lookup), ['140.82.121.4'])
  assert.deepEqual(await requirePublicHost('[2606:50c0:8000::153]', lookup), ['2606:50c0:8000::153'])
  for (const host of ['127.0.0.1', '[::1]', '[::ffff:7f00:1]', new URL('http://0x7f.1/').hostname])
    await assert.rejects(requirePublicHost(host, lookup), /not on the public Internet/, host)
})

test('a host without an address, or an unknown one, is refused with an explanation', async () => {
  await assert.rejects(
    requirePublicHost('nowhere.example', async () => []),
    /has no address/
  )
  const failing = async () => Promise.reject(Object.assign(new Error('queryA ENOTFOUND'), { code: 'ENOTFOUND' }))
  await assert.rejects(requirePublicHost('nowhere.example', failing), /was not found/)
})

test('the host name of this machine is refused', () =>
  assert.rejects(requirePublicHost('localhost'), /not on the public Internet/))

import { LocalDeployer } from '../../integrations/deployer/local/index.ts'
import { workDirOf } from '../config/work-dir.ts'
import { defineCommand } from './command.ts'

export const localStop = defineCommand({
  name: 'local stop',
  summary: 'Stop all apps on this machine; a running server starts them again.',
  printsData: true,
  async run({ config }) {
    const { dataDir } = await config()
    const stopped = await new LocalDeployer({ dataDir: workDirOf(dataDir) }).stop(new AbortController().signal)
    return { data: { stopped }, text: stopped ? 'all apps have stopped' : 'no apps are running on this machine' }
  }
})

import { auditExport, auditVerify } from './audit.ts'
import { backupCreate, backupDrill, backupList, backupPrune, backupRestore, backupVerify } from './backup.ts'
import type { Command } from './command.ts'
import { completionOf } from './completion.ts'
import { configCheck, configPrint } from './config.ts'
import { failover } from './failover.ts'
import { incidentClose, incidentList, incidentOpen, incidentReview, incidentUpdate } from './incident.ts'
import { localStop } from './local.ts'
import { maintenanceOff, maintenanceOn, maintenanceStatus } from './maintenance.ts'
import { migrate } from './migrate.ts'
import { openapi } from './openapi.ts'
import { operatorGrant, operatorRevoke } from './operator.ts'
import { domainsAdd, domainsCheck, domainsList, domainsRemove, run } from './people/absent.ts'
import { appsCreate, appsDelete, appsList, appsShow, appsUpdate } from './people/apps.ts'
import { deploy } from './people/deploy.ts'
import { deploymentsCancel, deploymentsList, deploymentsShow, rollback } from './people/deployments.ts'
import { envImport, envList, envSet, envUnset } from './people/env.ts'
import { login, logout } from './people/login.ts'
import { logs } from './people/logs.ts'
import { open } from './people/open.ts'
import { regionsSet, regionsShow } from './people/regions.ts'
import { teamsCreate, teamsInvite, teamsList, teamsMembers } from './people/teams.ts'
import { whoami } from './people/whoami.ts'
import { probe } from './probe.ts'
import { secretsGenerate, secretsRotate, secretsStatus } from './secrets.ts'
import { serve } from './serve.ts'
import { smoke } from './smoke.ts'
import { statusRender } from './status-render.ts'
import { teamExport, teamPlan } from './team.ts'
import { tokenCreate, tokenList, tokenRevoke } from './token.ts'
import { userCreate, userList, userReset } from './user.ts'

/** All commands, in the order of the help. */
export const commands: readonly Command[] = [
  login,
  logout,
  whoami,
  appsList,
  appsCreate,
  appsShow,
  appsUpdate,
  appsDelete,
  deploy,
  rollback,
  deploymentsList,
  deploymentsShow,
  deploymentsCancel,
  logs,
  envList,
  envSet,
  envUnset,
  envImport,
  domainsList,
  domainsAdd,
  domainsCheck,
  domainsRemove,
  regionsShow,
  regionsSet,
  run,
  open,
  teamsList,
  teamsCreate,
  teamsMembers,
  teamsInvite,
  completionOf(() => commands),
  serve,
  migrate,
  failover,
  tokenCreate,
  tokenList,
  tokenRevoke,
  userCreate,
  userList,
  userReset,
  operatorGrant,
  operatorRevoke,
  teamPlan,
  teamExport,
  maintenanceOn,
  maintenanceOff,
  maintenanceStatus,
  incidentOpen,
  incidentUpdate,
  incidentClose,
  incidentList,
  incidentReview,
  statusRender,
  auditVerify,
  auditExport,
  secretsGenerate,
  secretsRotate,
  secretsStatus,
  backupCreate,
  backupList,
  backupVerify,
  backupRestore,
  backupDrill,
  backupPrune,
  configCheck,
  configPrint,
  localStop,
  openapi,
  smoke,
  probe
]

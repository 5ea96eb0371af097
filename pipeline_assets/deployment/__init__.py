"""What `pipeline-assets deploy` applies: the CloudFormation stack in infra/ and the Snowflake objects in sql/platform/.

Nothing here runs in a pipeline; a running platform only uses what was deployed.
"""

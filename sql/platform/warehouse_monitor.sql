-- Makes: the limit count for the warehouse. Only ACCOUNTADMIN can put a warehouse under a monitor.
ALTER WAREHOUSE ${warehouse} SET RESOURCE_MONITOR = ${monitor}

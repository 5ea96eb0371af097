-- Makes: the warehouse limited by the monitor. Only ACCOUNTADMIN can assign a monitor to a warehouse.
ALTER WAREHOUSE ${warehouse} SET RESOURCE_MONITOR = ${monitor}

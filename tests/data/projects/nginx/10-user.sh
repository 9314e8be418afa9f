#!/bin/sh
sed -i 's/^user .*/user nginx;/' /etc/nginx/nginx.conf
